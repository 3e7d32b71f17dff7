//! Unknown settings, and values of the wrong kind.

use super::*;

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    for (file, message) in [
        ("listne = 'x'", "unknown setting `listne` (tintype.toml, line 1); did you mean `listen`?"),
        (
            "queue = 1\nmax_pixles = 5",
            "unknown setting `max_pixles` (tintype.toml, line 2); did you mean `max_pixels`?",
        ),
        ("max-pixels = 5", "unknown setting `max-pixels` (tintype.toml, line 1); did you mean `max_pixels`?"),
        ("Queue = 5", "unknown setting `Queue` (tintype.toml, line 1); did you mean `queue`?"),
        (
            "colour = 1",
            "unknown setting `colour` (tintype.toml, line 1); `tintype config` lists all settings",
        ),
        (
            "[server]\nlisten = 'x'",
            "unknown setting `server` (tintype.toml, line 1); settings are not in sections; `tintype config` lists all \
             settings",
        ),
        (
            "[models.a]\nengin = 'x'",
            "unknown setting `models.a.engin` (tintype.toml, line 2); did you mean `engine`?",
        ),
        (
            "[models.\"o/m\"]\nengine = 'builtin'\nmax-step = 1",
            "unknown setting `models.\"o/m\".max-step` (tintype.toml, line 3); did you mean `max_steps`?",
        ),
        (
            "[models.a]\nengine = 'builtin'\nqueue = 5",
            "unknown setting `models.a.queue` (tintype.toml, line 3); `queue` is not a setting of a table: move its \
             line above the first table",
        ),
    ] {
        assert_eq!(Start::new().file(file).error(), message);
    }
    let unrelated = Start::new().file("[models.a]\nzzz = 1").error();
    assert!(
        unrelated.contains("`models.a.zzz`") && unrelated.contains("can have engine, aliases,"),
        "{unrelated}"
    );
    let broken = Start::new().file("queue = 1\nkeep = 7d\n").error();
    assert!(broken.starts_with("tintype.toml, line 2: "), "{broken}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    for (name, message) in [
        ("TINTYPE_LISTNE", "did you mean TINTYPE_LISTEN?"),
        ("TINTYPE_listen", "did you mean TINTYPE_LISTEN?"),
        ("TINTYPE_COLOUR", "`tintype config` lists all settings"),
        ("TINTYPE_MODELS__A__STESP", "did you mean TINTYPE_MODELS__A__STEPS?"),
        ("TINTYPE_MODEL__A__STEPS", "`model` is not a table"),
        ("TINTYPE_MODLES__A__STEPS", "did you mean TINTYPE_MODELS__A__STEPS?"),
        ("TINTYPE_MODELS__A__ZZZ", "the levels below TINTYPE_MODELS__A are engine,"),
        (
            "TINTYPE_MODELS__A",
            "it names a table; a variable sets one value, such as TINTYPE_MODELS__A__ENGINE",
        ),
        (
            "TINTYPE_MODELS",
            "it names a table; a variable sets one value, such as TINTYPE_MODELS__NAME__ENGINE",
        ),
        ("TINTYPE_MODELS____STEPS", "a name in a variable has letters, digits and single underscores"),
        ("TINTYPE_MODELS__A__STEPS__X", "`models.a.steps` is not a table"),
    ] {
        let error = Start::new().variable(name, "hunter2").error();
        let expected = format!("unknown setting in environment variable {name}; {message}");
        assert!(error.starts_with(&expected), "{error}\n{expected}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn tables_and_values_are_not_confused() {
    for (file, message) in [
        ("[store]\nkeep = 'x'", "`store` is a table (tintype.toml, line 1), but the setting has one value"),
        (
            "[model.fast]\nengine = 'x'",
            "`model` is a table (tintype.toml, line 1), but the setting has one value; did you mean `[models.NAME]`?",
        ),
        ("[aliases]\na = 1", "`aliases` is a table (tintype.toml, line 1), but the setting has a list"),
        (
            "models = 'fast'",
            "`models` is `fast` (tintype.toml, line 1); it must be a table for each name, such as [models.NAME]",
        ),
        (
            "[models]\nfast = 'builtin'",
            "`models.fast` is `builtin` (tintype.toml, line 2); it must be a table, such as [models.fast]",
        ),
        (
            "queue = [5]",
            "`queue` is `[5]` (tintype.toml, line 1); it must be one string, number, true or false",
        ),
        (
            "keep = 2026-01-01",
            "`keep` is `2026-01-01` (tintype.toml, line 1); it must be one string, number, true or false",
        ),
        (
            "aliases = [['a']]",
            "`aliases` is `[[\"a\"]]` (tintype.toml, line 1); it must be a list of strings or numbers",
        ),
    ] {
        assert_eq!(Start::new().file(file).error(), message);
    }
    for file in [
        "[[models]]\nengine = 'builtin'",
        "models = 5",
        "[models.a]\nengine = ['builtin']",
        "[models.a.engine]",
    ] {
        assert!(Start::new().file(file).error().contains("`models"), "{file}");
    }
}
