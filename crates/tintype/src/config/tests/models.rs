//! Tables of models.

use tintype_ledger::money::Price;

use super::*;
use tintype_service::LoadTime;

const TWO: &str = "
max_pixels = 4096
price = '0.0005usd'
sagemaker_steps = 30

[models.fine]
engine = 'sagemaker:sd-21'
sagemaker_async = true
sagemaker_attributes = 'a=b'

[models.\"org/turbo\"]
engine = 'org/turbo'
aliases = ['turbo', 'gpt-image-*']
price = '0.02usd/image'
width = 64
height = 32768
steps = 4
guidance = 0
max_pixels = 'auto'
max_work = 1000000
max_steps = 8
load = 'on_demand'
";

fn names(models: &Models) -> Vec<&str> {
    models.entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn aliases(entry: &ModelEntry) -> Vec<String> {
    entry.aliases.iter().map(ToString::to_string).collect()
}

#[test]
fn a_table_describes_a_model() {
    let models = Start::new().file(&TWO.replace("32768", "512")).load().expect("valid").models;
    assert_eq!(names(&models), ["fine", "org/turbo"], "in the order of the file");
    assert_eq!(models.default, "fine", "the first one");
    let [fine, turbo] = &models.entries[..] else { panic!("two models") };

    assert_eq!(fine.engine, ModelChoice::Endpoint("sd-21".into()));
    assert_eq!(
        aliases(fine),
        ["chatgpt-image-*", "dall-e-*", "tintype"],
        "the general ones that no table uses"
    );
    assert_eq!(fine.price, Some(Price::PerSecond("0.0005usd".parse().expect("an amount"))));
    assert_eq!(fine.limits, ModelLimits { max_pixels: Some(4096), max_work: None, max_steps: None });
    assert_eq!((fine.defaults, fine.load), (ModelDefaults::default(), LoadTime::AtStart));
    let endpoint = &fine.endpoint;
    assert_eq!((endpoint.asynchronous, endpoint.steps, endpoint.slots), (true, 30, 4));
    assert_eq!((endpoint.attributes.as_deref(), turbo.endpoint.attributes.as_deref()), (Some("a=b"), None));

    assert_eq!(turbo.engine, ModelChoice::Hub("org/turbo".into()));
    assert_eq!(aliases(turbo), ["turbo", "gpt-image-*"]);
    assert_eq!(turbo.price, Some(Price::PerImage("0.02usd".parse().expect("an amount"))));
    let defaults = ModelDefaults { width: Some(64), height: Some(512), steps: Some(4), guidance: Some(0.0) };
    assert_eq!((turbo.defaults, turbo.load), (defaults, LoadTime::OnDemand));
    assert_eq!(turbo.limits, ModelLimits { max_pixels: None, max_work: Some(1_000_000), max_steps: Some(8) });
}

#[test]
fn the_only_model_has_the_general_settings() {
    let start = Start::new().file("max_pixels = 4096\nprice = '0.02usd/image'\nsagemaker_size = 1024");
    let start = start.flag("model", "sagemaker:x").variable("TINTYPE_MODELS_MEMORY", "20GB");
    let models = start.load().expect("valid").models;
    assert_eq!((names(&models), models.default.as_str()), (vec!["x"], "x"));
    assert_eq!(models.memory, Some(20_000_000_000));
    let entry = models.default_entry();
    assert_eq!(entry.limits.max_pixels, Some(4096));
    assert_eq!(entry.endpoint.size, 1024);
    assert_eq!(entry.price.expect("a price").to_string(), "0.02usd/image");
}

#[test]
fn one_table_can_be_the_default() {
    let default = |file: &str| Start::new().file(file).load().expect("valid").models.default;
    assert_eq!(default("[models.b]\nengine = 'builtin'\n[models.a]\nengine = 'o/a'"), "b");
    assert_eq!(default("[models.b]\nengine = 'builtin'\n[models.a]\nengine = 'o/a'\ndefault = true"), "a");
    assert_eq!(default("[models.a]\nengine = 'o/a'"), "a");
    assert_eq!(default("[models]"), "emoji", "no table");
}

#[test]
fn the_flag_selects_the_default() {
    let file = "[models.fine]\nengine = 'o/fine'\naliases = ['dall-e-*']\n[models.fast]\nengine = 'builtin'\n\
                [models.turbo]\nengine = 'o/turbo'\ndefault = true";
    let load = |model: &str| Start::new().file(file).flag("model", model).load().expect("valid").models;
    for (model, default) in
        [("fast", "fast"), ("turbo", "turbo"), ("dall-e-3", "fine"), ("o/fine", "fine"), ("builtin", "fast")]
    {
        let models = load(model);
        assert_eq!((models.default.as_str(), models.entries.len()), (default, 3), "{model}");
    }
    let models = load("sagemaker:new");
    assert_eq!(names(&models), ["fine", "fast", "turbo", "new"]);
    assert_eq!(models.default, "new", "another model is added");
    assert!(aliases(models.default_entry()).contains(&"tintype".to_owned()));
    let by_variable = Start::new().file(file).variable("TINTYPE_MODEL", "fast").load().expect("valid").models;
    assert_eq!(by_variable.default, "fast");

    let start = |model: &str| Start::new().file(file).flag("model", model);
    let shown = start("fast").shown();
    assert_eq!(shown.get("model"), None, "it has become `default`");
    assert_eq!(shown["models"]["fast"]["default"], serde_json::json!({"value": true, "source": "--model"}));
    assert_eq!(shown["models"]["turbo"].get("default"), None);
    assert_eq!(
        start("fats").error(),
        "`model` is `fats` (--model); it must be one of the models fine, fast, turbo; or `builtin`, an existing \
         folder, ORG/NAME, or sagemaker:ENDPOINT; did you mean `fast`?"
    );
    assert_eq!(
        start("./turbo").error(),
        "`model` is `./turbo` (--model), but its name is that of another model, `models.turbo` (tintype.toml, line 6)"
    );
}

#[test]
fn the_general_limit_applies_to_default_sizes() {
    let error = Start::new().file(TWO).error();
    assert!(error.contains("`models.\"org/turbo\".height` is `32768` (tintype.toml, line "), "{error}");
}

#[test]
fn the_short_form_and_tables_exclude_each_other() {
    let error = Start::new().file("model = 'builtin'\n[models.fast]\nengine = 'builtin'").error();
    let start =
        "`model` (tintype.toml, line 1) and tables of `[models]` (tintype.toml, line 2) exclude each other";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn the_built_in_model_has_its_alias_once() {
    let file = "[models.a]\nengine = 'builtin'\n[models.b]\nengine = 'builtin'\n";
    let builtin = |file: &str| -> Vec<String> {
        let models = Start::new().file(file).load().expect("valid").models;
        let has = |entry: &&ModelEntry| entry.aliases.iter().any(|alias| alias.covers("builtin"));
        models.entries.iter().filter(has).map(|entry| entry.name.clone()).collect()
    };
    assert_eq!(builtin(file), ["a"]);
    assert_eq!(builtin(&format!("{file}default = true")), ["b"]);
    assert_eq!(builtin(&format!("{file}aliases = ['built*']")), ["b"]);
    assert_eq!(builtin("[models.builtin]\nengine = 'builtin'"), [""; 0], "its name");
}

#[test]
fn variables_set_values_of_tables() {
    let start = Start::new()
        .file("[models.Fast]\nengine = 'builtin'\nsteps = 2\n[models.\"o/m\"]\nengine = 'o/m'")
        .variable("TINTYPE_MODELS__FAST__STEPS", "4")
        .variable("TINTYPE_MODELS__FAST__ALIASES", "a,b")
        .variable("TINTYPE_MODELS__FAST__SAGEMAKER_ASYNC", "true")
        .variable("TINTYPE_MODELS__NEW_ONE__ENGINE", "sagemaker:x")
        .variable("TINTYPE_MODELS__NEW_ONE__DEFAULT", "true");
    let models = start.load().expect("valid").models;
    assert_eq!(names(&models), ["Fast", "o/m", "new_one"]);
    assert_eq!(models.default, "new_one");
    let fast = &models.entries[0];
    assert_eq!(
        (fast.defaults.steps, aliases(fast), fast.endpoint.asynchronous),
        (Some(4), vec!["a".into(), "b".into(), "builtin".into()], true)
    );
    assert_eq!(
        Start::new().variable("TINTYPE_MODELS__FAST__STEPS", "4").error(),
        "`models.fast.engine` is missing (TINTYPE_MODELS__FAST__STEPS)"
    );
    assert_eq!(
        Start::new().variable("TINTYPE_MODELS__FAST__STEPS", "400").error(),
        "`models.fast.steps` is `400` (TINTYPE_MODELS__FAST__STEPS); it must be a whole number between 1 and 150"
    );
}

#[test]
fn invalid_tables_are_refused_by_their_path() {
    let b = "[models.b]\nengine = 'builtin'\n";
    for (file, message) in [
        ("[models.a]\nsteps = 4".to_owned(), "`models.a.engine` is missing (tintype.toml, line 1)"),
        (
            "[models.a]\nengine = 'turbo'".to_owned(),
            "`models.a.engine` is `turbo` (tintype.toml, line 2); it must be `builtin`, an existing folder, ORG/NAME, \
             or sagemaker:ENDPOINT",
        ),
        (
            format!("{b}default = true\n[models.c]\nengine = 'o/c'\ndefault = true"),
            "`models.c.default` (tintype.toml, line 6) is true, and so is `models.b.default`",
        ),
        (
            format!("{b}aliases = ['x']\n[models.\"o/c\"]\nengine = 'o/c'\naliases = ['y', 'x']"),
            "`models.\"o/c\".aliases` (tintype.toml, line 6) has `x`, and so has `models.b.aliases`",
        ),
        (
            format!("{b}aliases = ['c']\n[models.c]\nengine = 'o/c'"),
            "`models.b.aliases` (tintype.toml, line 3) has `c`, which is the name of another model, `models.c`",
        ),
        (
            format!("{b}steps = 20\nmax_steps = 10"),
            "`models.b.steps` (tintype.toml, line 3) is 20; the maximum is `max_steps`, 10",
        ),
        (
            format!("{b}width = 64\nheight = 128\nmax_pixels = 4096"),
            "`models.b.width` (tintype.toml, line 3) and `height` are 8192 pixels; the maximum is `max_pixels`, 4096",
        ),
        (
            format!("{b}price = '1usd/day'"),
            "`models.b.price` is `1usd/day` (tintype.toml, line 3); it must be an amount of money such as 0.0005usd \
             per second of engine time, or 0.02usd/image, with at most six decimals",
        ),
        (
            format!("{b}load = 'later'"),
            "`models.b.load` is `later` (tintype.toml, line 3); it must be start or on_demand",
        ),
        (
            format!("{b}default = 'maybe'"),
            "`models.b.default` is `maybe` (tintype.toml, line 3); it must be true or false",
        ),
        (
            "[models.\"a b\"]\nengine = 'builtin'".to_owned(),
            "`models.\"a b\"` (tintype.toml, line 1) has an invalid name; the name of a model has visible ASCII \
             characters other than `*` and `,`",
        ),
    ] {
        assert_eq!(Start::new().file(&file).error(), message);
    }
    for name in ["", "a,b", "a*", "*", "é"] {
        let error = Start::new().file(&format!("[models.\"{name}\"]\nengine = 'builtin'")).error();
        assert!(error.contains("has an invalid name"), "{error}");
    }
    for line in
        ["width = 63", "height = 0", "steps = 151", "guidance = 31", "max_steps = 0", "sagemaker_slots = 0"]
    {
        let error = Start::new().file(&format!("{b}{line}")).error();
        assert!(error.contains("it must be") && error.contains("(tintype.toml, line 3)"), "{error}");
    }
}

#[test]
fn the_example_of_the_defaults_file_is_valid() {
    let file = include_str!("../../../../../tintype.default.toml");
    let (_, example) = file.split_once("\n# [models.fast]").expect("an example");
    let example = format!("# [models.fast]{example}").replace("\n# ", "\n").replacen("# ", "", 1);
    let models = Start::new().file(&example).load().expect("valid").models;
    assert_eq!((models.default.as_str(), models.entries.len()), ("fast", 1));
    assert_eq!(models.entries[0].limits.max_steps, Some(20));
    // One key stands for all that begin with `sagemaker_`.
    let table = sections::shape().of_key("models").and_then(|models| models.of_key("fast")).expect("a table");
    for key in known::keys(table).iter().filter(|key| !key.starts_with("sagemaker_")) {
        assert!(example.contains(&format!("\n{key} = ")), "{key}");
    }
}
