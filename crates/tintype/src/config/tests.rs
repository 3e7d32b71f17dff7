//! Precedence of layers, rejected settings, and the output of `tintype config`.

mod models;
mod refused;
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::schema::settings;
use super::*;
use tintype_service::LoadTime;

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

    fn layers(&self) -> Layers {
        Layers::gather(&self.environment, &self.flags).expect("readable")
    }

    fn shown(&self) -> serde_json::Value {
        as_json(&self.layers())
    }
}

#[test]
fn the_defaults_are_valid() {
    let config = Start::new().load().expect("the defaults");
    assert_eq!(config.serving.listen, ([127, 0, 0, 1], 8080).into());
    assert_eq!(config.serving.public_url, None);
    assert_eq!(config.models.default, "emoji");
    assert_eq!(config.models.entries.len(), 1);
    assert_eq!(config.models.memory, None);
    let model = config.models.default_entry();
    assert_eq!((&model.engine, model.price, model.load), (&ModelChoice::Builtin, None, LoadTime::AtStart));
    assert_eq!((model.endpoint.size, model.endpoint.asynchronous), (512, false));
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
        let config = start.load().expect("valid");
        config.models.default_entry().aliases.iter().map(ToString::to_string).collect::<Vec<_>>()
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
fn an_invalid_value_is_reported_with_its_source() {
    assert_eq!(
        Start::new().variable("TINTYPE_KEEP", "a week").error(),
        "`keep` is `a week` (TINTYPE_KEEP); it must be a duration such as 500ms, 10s, 5m, 36h or 7d, or `forever`"
    );
    assert_eq!(
        Start::new().flag("listen", "80").error(),
        "`listen` is `80` (--listen); it must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"
    );
    assert_eq!(
        Start::new().file("keep = '1d'\nqueue = -1").error(),
        "`queue` is `-1` (tintype.toml, line 2); it must be a whole number of at least 0"
    );
    assert_eq!(
        Start::new().flag("no_get", "yes").error(),
        "`no_get` is `yes` (--no-get); it must be true or false"
    );
    assert!(Start::new().variable("TINTYPE_LOG", "loud").error().contains("`log` is `loud`"));
}

#[test]
fn a_list_is_an_array_or_a_text_with_commas() {
    let aliases = |start: &Start| {
        start.load().expect("valid").serving.aliases.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = ["dall-e-*", "x/y"];
    for start in [
        Start::new().file("aliases = ['dall-e-*', 'x/y']"),
        Start::new().file("aliases = 'dall-e-*, x/y'"),
        Start::new().variable("TINTYPE_ALIASES", "dall-e-*,x/y"),
        Start::new().flag("aliases", "dall-e-*, x/y"),
    ] {
        assert_eq!(aliases(&start), both);
        assert_eq!(start.shown()["aliases"]["value"], serde_json::json!(both));
    }
    for none in [Start::new().file("aliases = []"), Start::new().variable("TINTYPE_ALIASES", "")] {
        assert!(aliases(&none).is_empty());
    }
    assert_eq!(
        Start::new().file("aliases = ['a', 'b c']").error(),
        "`aliases` is `[\"a\", \"b c\"]` (tintype.toml, line 1); it must be model names such as dall-e-3 or \
         dall-e-*, separated by commas"
    );
    for text in [",", "a,,b", "a b", "a*b"] {
        assert!(Start::new().flag("aliases", text).error().contains("it must be model names"), "{text}");
    }
}

#[test]
fn a_scalar_may_be_a_text_or_a_number() {
    for file in ["queue = 5\nmax_pixels = 9", "queue = '5'\nmax_pixels = '9'"] {
        let limits = Start::new().file(file).load().expect("valid").limits;
        assert_eq!((limits.queue, limits.max_pixels), (5, Some(9)));
    }
    let text = Start::new().file("s3_access_key_id = '007'").shown();
    assert_eq!(text["s3_access_key_id"]["value"], "007", "it stays a text");
}

#[test]
fn the_output_of_config_is_a_settings_file() {
    let start = Start::new()
        .file(
            "price = '0.0005usd'\n[models.fast]\nengine = 'builtin'\naliases = ['a', 'b']\nsteps = 4\nguidance = 7.5\n\
             [models.\"org/model\"]\nengine = 'org/model'\nmax_pixels = 'auto'\nprice = ''\nload = 'on_demand'",
        )
        .variable("TINTYPE_DATA_DIR", "/a \"quoted\" folder")
        .variable("TINTYPE_MODELS__FAST__STEPS", "5")
        .flag("no_get", "true")
        .flag("model", "org/model");
    let shown = as_toml(&start.layers());
    let again = Start::new().file(&shown);
    let (config, read_back) = (start.load().expect("valid"), again.load().expect("valid"));
    assert_eq!(in_effect(&config), in_effect(&read_back), "{shown}");
    assert_eq!(read_back.store.data_dir, PathBuf::from("/a \"quoted\" folder"));
    assert_eq!(read_back.models.default, "org/model");
    let lines = shown.lines().filter(|line| line.contains("  # ")).count();
    // Without `model`, and with four values of the first table and five of the second.
    assert_eq!(lines, settings().len() - 1 + 4 + 5, "each value has its source in a comment:\n{shown}");
    let values = |shown: serde_json::Value| {
        let mut shown = shown;
        remove_sources(&mut shown);
        shown
    };
    assert_eq!(values(start.shown()), values(again.shown()));
    let model = &start.shown()["models"]["fast"];
    assert_eq!(model["steps"], serde_json::json!({"value": 5, "source": "TINTYPE_MODELS__FAST__STEPS"}));
    assert_eq!(model["guidance"], serde_json::json!({"value": 7.5, "source": "tintype.toml"}));
    assert_eq!(start.shown()["models"]["org/model"]["default"]["source"], "--model");
}

/// The settings without the mark that a file sets the log level.
fn in_effect(config: &Config) -> String {
    let mut config = config.clone();
    config.log.explicit = false;
    format!("{config:?}")
}

/// Removes the member `source` of each setting.
fn remove_sources(shown: &mut serde_json::Value) {
    if let Some(members) = shown.as_object_mut() {
        members.remove("source");
        members.values_mut().for_each(remove_sources);
    }
}

#[test]
fn the_output_of_config_with_one_model_is_a_settings_file() {
    let start = Start::new().flag("model", "sagemaker:x").variable("TINTYPE_ALIASES", "a,b");
    let shown = as_toml(&start.layers());
    let read_back = Start::new().file(&shown).load().expect("valid");
    assert_eq!(in_effect(&read_back), in_effect(&start.load().expect("valid")));
    assert_eq!(shown.lines().filter(|line| line.contains("  # ")).count(), settings().len(), "{shown}");
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
