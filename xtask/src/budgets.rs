//! The standing budgets: what a build and a start may cost. `cargo xtask test` prints them.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{program, say};

/// Maximum size of the binary, in bytes.
const BINARY_BYTES: u64 = 120_000_000;
/// CPU seconds of a cold `cargo build --release`, on the machine of ARCHITECTURE.md's table of budgets.
const BUILD_CPU_SECONDS: f64 = 855.0;
/// Milliseconds from the start of the Lambda function to its request for the first event.
const LAMBDA_INIT_MS: f64 = 20.0;
/// Minutes of `cargo xtask test` in a fresh clone on two cores.
const TEST_MINUTES: f64 = 25.0;

/// Starts of the function; the median counts.
const STARTS: usize = 9;
/// Time limit for a start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What a run of `cargo xtask test` has measured. `cargo xtask budgets` measures neither.
#[derive(Default)]
pub(crate) struct Measured {
    /// CPU seconds of the build, if it was cold.
    pub(crate) build_cpu: Option<f64>,
    /// Minutes of all stages.
    pub(crate) minutes: Option<f64>,
}

/// Prints each value beside its budget.
///
/// # Errors
/// If the binary is too large. Times depend on the machine, so they are only printed.
pub(crate) fn report(binary: &Path, measured: &Measured) -> Result<()> {
    let metadata = std::fs::metadata(binary).context("no binary, run `cargo build --release` first")?;
    let bytes = metadata.len();
    let init = lambda_init(binary)?;
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    say("\nbudget                                 value    limit");
    for (name, value, limit) in [
        ("binary, bytes", bytes.to_string(), BINARY_BYTES.to_string()),
        ("cold release build, CPU seconds", shown(measured.build_cpu), BUILD_CPU_SECONDS.to_string()),
        ("Lambda init, ms (median)", format!("{init:.1}"), LAMBDA_INIT_MS.to_string()),
        ("all stages, minutes", shown(measured.minutes), TEST_MINUTES.to_string()),
    ] {
        say(&format!("{name:<32} {value:>11} {limit:>8}"));
    }
    ensure!(bytes <= BINARY_BYTES, "the binary has {bytes} bytes, more than its budget of {BINARY_BYTES}");
    Ok(())
}

/// CPU seconds of all ended child processes and of theirs. `None` where the system has no `/proc`.
pub(crate) fn children_cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may contain spaces. The fields after it begin with the third; `cutime` and
    // `cstime` are the 16th and 17th, in ticks of 10 ms (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index - 3)?.parse::<f64>().ok();
    Some((ticks(16)? + ticks(17)?) / 100.0)
}

/// Milliseconds from the start of the process to its request for the first event, the median of several starts.
fn lambda_init(binary: &Path) -> Result<f64> {
    let mut times = (0..STARTS).map(|_| one_start(binary)).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[STARTS / 2])
}

fn one_start(binary: &Path) -> Result<f64> {
    let runtime_api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = program(binary);
    function_environment(&mut command).env("AWS_LAMBDA_RUNTIME_API", runtime_api.local_addr()?.to_string());
    let started = Instant::now();
    let mut function = command.spawn().context("failed to start the function")?;
    let asked = first_request(&runtime_api, &mut function, started);
    let elapsed = started.elapsed().as_secs_f64() * 1_000.0;
    function.kill()?;
    function.wait()?;
    let line = asked?;
    ensure!(line.contains("/invocation/next"), "the function's first request is `{line}`");
    Ok(elapsed)
}

/// The settings of a function in front of a SageMaker endpoint. It connects to neither before the first event.
fn function_environment(command: &mut Command) -> &mut Command {
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).envs([
        ("TINTYPE_STORE", "s3://bucket"),
        ("TINTYPE_MODEL", "sagemaker:endpoint"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_LAMBDA_FUNCTION_NAME", "tintype"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/tintype"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/29/[$LATEST]0"),
    ])
}

/// The first bytes that the function sends.
fn first_request(runtime_api: &TcpListener, function: &mut Child, started: Instant) -> Result<String> {
    runtime_api.set_nonblocking(true)?;
    loop {
        match runtime_api.accept() {
            Ok((mut connection, _)) => {
                connection.set_nonblocking(false)?;
                connection.set_read_timeout(Some(START_LIMIT))?;
                let mut bytes = [0; 256];
                let length = connection.read(&mut bytes)?;
                return Ok(String::from_utf8_lossy(&bytes[..length])
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(status) = function.try_wait()? {
                    bail!("the function ended with {status} before it requested an event");
                }
                if started.elapsed() > START_LIMIT {
                    bail!("the function requested no event within {} s", START_LIMIT.as_secs());
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn ended_children_count() {
        let before = children_cpu_seconds().expect("a number");
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", busy]).status().expect("started").success());
        assert!(children_cpu_seconds().expect("a number") > before);
    }
}
