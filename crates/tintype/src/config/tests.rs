//! Precedence of layers, rejected settings, and the output of `tintype config`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::schema::settings;
use super::*;

/// A working folder, an environment and flags.
struct Start {
    folder: TempDir,
    environment: Environment,
    flags: Flags,
}

impl Start {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment {
            variables: BTreeMap::new(),
            hub_cache: Some("/cache".into()),
            colors: false,
            on_lambda: false,
            traces: false,
            metrics: None,
            sagemaker_port: None,
            working_folder: folder.path().to_owned(),
        };
        Self { folder, environment, flags: Flags::default() }
    }

    fn file(self, content: &str) -> Self {
        fs::write(self.folder.path().join("tintype.toml"), content).expect("a file");
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.flags.values.push((key, value.into()));
        self
    }

    fn load(&self) -> Result<Config> {
        Config::load(&self.environment, &self.flags)
    }

    fn error(&self) -> String {
        format!("{:#}", self.load().expect_err("an error"))
    }

    fn shown(&self) -> serde_json::Value {
        as_json(&Layers::gather(&self.environment, &self.flags).expect("readable"))
    }
}

#[test]
fn the_defaults_are_valid() {
    let config = Start::new().load().expect("the defaults");
    assert_eq!(config.serving.listen, ([127, 0, 0, 1], 8080).into());
    assert_eq!(config.serving.public_url, None);
    assert_eq!(config.model.choice, ModelChoice::Builtin);
    assert_eq!(config.model.threads, None);
    assert_eq!(config.model.hub_cache, Some("/cache".into()));
    assert_eq!(config.store.choice, StoreChoice::Embedded);
    assert_eq!(config.store.keep, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(config.store.keep_bytes, Some(10_000_000_000));
    assert_eq!(config.limits.max_pixels, None);
    let second = Duration::from_secs(1);
    let connections = ConnectionSettings {
        keep_alive: 90 * second,
        header_timeout: 30 * second,
        stall_timeout: 60 * second,
        max_connections: 10_000,
        drain_time: 5 * second,
        drain_bytes: 10_000_000,
    };
    assert_eq!(config.connections, connections);
    assert_eq!((config.limits.watchers_per_job, config.limits.watchers_per_owner), (100, 1000));
}

#[test]
fn the_built_in_model_has_an_alias() {
    let aliases = |start: Start| {
        let aliases = start.load().expect("valid").serving.aliases;
        aliases.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let defaults = ["gpt-image-*", "chatgpt-image-*", "dall-e-*", "tintype"];
    assert_eq!(aliases(Start::new()), [&defaults[..], &["builtin"]].concat());
    assert_eq!(aliases(Start::new().flag("aliases", "")), ["builtin"]);
    assert_eq!(aliases(Start::new().flag("aliases", "b*")), ["b*"]);
    assert_eq!(aliases(Start::new().flag("model", "sagemaker:x")), defaults);
}

#[test]
fn later_layers_win_and_each_value_knows_its_source() {
    let all = Start::new()
        .file("listen = '127.0.0.1:1'\nqueue = 1\nno_get = true\nkeep = '1d'")
        .variable("TINTYPE_LISTEN", "127.0.0.1:2")
        .variable("TINTYPE_QUEUE", "2")
        .flag("listen", "127.0.0.1:3");
    let config = all.load().expect("valid");
    assert_eq!(config.serving.listen.port(), 3);
    assert_eq!(config.limits.queue, 2);
    assert!(config.serving.no_get);

    let shown = all.shown();
    for (key, value, source) in [
        ("listen", serde_json::json!("127.0.0.1:3"), "--listen"),
        ("queue", 2.into(), "TINTYPE_QUEUE"),
        ("no_get", true.into(), "tintype.toml"),
        ("keep", "1d".into(), "tintype.toml"),
        ("grace", "30s".into(), "default"),
    ] {
        assert_eq!(shown[key], serde_json::json!({"value": value, "source": source}), "{key}");
    }
}

#[test]
fn another_file_can_be_named() {
    let mut start = Start::new().file("queue = 1");
    fs::write(start.folder.path().join("b.toml"), "queue = 2").expect("a file");
    fs::write(start.folder.path().join("c.toml"), "queue = 3").expect("a file");
    start = start.variable("TINTYPE_CONFIG", "b.toml");
    assert_eq!(start.load().expect("valid").limits.queue, 2);
    start.flags.file = Some("c.toml".into());
    assert_eq!(start.load().expect("valid").limits.queue, 3);
    start.flags.file = Some(PathBuf::from("absent.toml"));
    assert!(start.error().starts_with("cannot read the settings file absent.toml: "), "{}", start.error());
    let long = Start::new().file(&"#".repeat((1 << 20) + 1)).error();
    assert!(long.contains("tintype.toml: it has more than 1048576 bytes"), "{long}");
}

#[test]
fn an_unknown_setting_is_rejected_by_name() {
    assert_eq!(
        Start::new().file("listne = 'x'").error(),
        "in tintype.toml: unknown setting `listne`; `tintype config` lists all settings"
    );
    assert_eq!(
        Start::new().file("[store]\nkeep = 'x'").error(),
        "`store` in tintype.toml must be a string, a number, true or false"
    );
    assert_eq!(
        Start::new().variable("TINTYPE_LISTNE", "x").error(),
        "unknown setting in environment variable TINTYPE_LISTNE; `tintype config` lists all settings"
    );
    let broken = Start::new().file("queue = 1\nkeep = 7d\n").error();
    assert!(broken.starts_with("tintype.toml, line 2: "), "{broken}");
}

#[test]
fn an_invalid_value_is_reported_with_its_source() {
    assert_eq!(
        Start::new().variable("TINTYPE_KEEP", "a week").error(),
        "`keep` is `a week` (TINTYPE_KEEP); it must be a duration such as 500ms, 10s, 5m, 36h or 7d, or `forever`"
    );
    assert_eq!(
        Start::new().flag("listen", "80").error(),
        "`listen` is `80` (--listen); it must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"
    );
    assert!(Start::new().file("queue = -1").error().contains("(tintype.toml)"));
    assert!(Start::new().variable("TINTYPE_LOG", "loud").error().contains("`log` is `loud`"));
}

#[test]
fn secrets_are_not_shown() {
    let start = Start::new()
        .variable("TINTYPE_S3_ACCESS_KEY_ID", "AKIA")
        .variable("TINTYPE_S3_SECRET_ACCESS_KEY", "hunter2");
    let layers = Layers::gather(&start.environment, &start.flags).expect("readable");
    for shown in
        [as_toml(&layers), as_json(&layers).to_string(), format!("{:?}", start.load().expect("valid"))]
    {
        assert!(shown.contains("AKIA") && shown.contains("[redacted]"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let half = Start::new().variable("TINTYPE_S3_SECRET_ACCESS_KEY", "hunter2").error();
    assert!(half.contains("set both or neither") && !half.contains("hunter2"), "{half}");
}

#[test]
fn the_output_of_config_is_a_settings_file() {
    let start = Start::new().variable("TINTYPE_DATA_DIR", "/a \"quoted\" folder").flag("no_get", "true");
    let shown = as_toml(&Layers::gather(&start.environment, &start.flags).expect("readable"));
    let again = Start::new().file(&shown);
    assert_eq!(again.load().expect("valid").store.data_dir, PathBuf::from("/a \"quoted\" folder"));
    let lines = shown.lines().filter(|line| line.contains("  # ")).count();
    assert_eq!(lines, settings().len(), "each value has its source in a comment:\n{shown}");
}

#[test]
fn a_socket_is_no_settings_file_but_a_pipe_of_the_shell_is() {
    let start = Start::new();
    let path = start.folder.path().join("tintype.toml");
    let _socket = std::os::unix::net::UnixListener::bind(path).expect("a socket");
    let expected = "cannot read the settings file tintype.toml: not a regular file";
    assert_eq!(start.error(), expected);
    let start = start.variable("TINTYPE_CONFIG", "tintype.toml");
    assert_eq!(start.error(), expected);
    Start::new().variable("TINTYPE_CONFIG", "/dev/null").load().expect("no settings");
    let endless = Start::new().variable("TINTYPE_CONFIG", "/dev/zero").error();
    assert!(endless.ends_with("/dev/zero: not a regular file"), "{endless}");

    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, b"queue = 7").expect("written");
    drop(writer);
    let descriptor = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let config = Start::new().variable("TINTYPE_CONFIG", &descriptor).load().expect("valid");
    assert_eq!(config.limits.queue, 7);
}
