//! Removes passwords from texts that are printed.

/// Replaces a password.
const HIDDEN: &str = "***";
/// Parameters of URLs and connection strings that contain a password. `sslpassword=` contains the first one.
const PARAMETERS: [&str; 3] = ["password=", "passwd=", "pwd="];

/// The text with `***` for each password: in the user information of a URL (`postgres://user:***@host/db`), and
/// in parameters of a URL or connection string (`password=***`). The user information of `http` and `https`
/// without a colon is hidden as well, because it is often a token.
///
/// If a password has characters that must be encoded in URLs, such as `/` or `@`, more than the password may be
/// replaced, but not less.
pub fn without_passwords(text: &str) -> String {
    without_parameters(&without_user_passwords(text))
}

fn without_user_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The last `@`, because a password that is not encoded may contain one.
    let Some((user_information, host)) = rest.rsplit_once('@') else { return text.to_owned() };
    let is_http = ["http", "https"].iter().any(|http| scheme.to_ascii_lowercase().ends_with(http));
    let user = match user_information.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}"),
        None if is_http => HIDDEN.to_owned(),
        None => user_information.to_owned(),
    };
    format!("{scheme}://{user}@{host}")
}

fn without_parameters(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = next_value(rest) {
        let (before, value) = rest.split_at(start);
        shown.push_str(before);
        let length = value_length(value);
        if length > 0 {
            shown.push_str(HIDDEN);
        }
        rest = &value[length..];
    }
    shown + rest
}

/// Where the value of the first parameter starts that contains a password.
fn next_value(text: &str) -> Option<usize> {
    let text = text.to_ascii_lowercase();
    let starts = PARAMETERS.iter().filter_map(|name| Some(text.find(name)? + name.len()));
    starts.min()
}

/// The length of a parameter's value. In a connection string of PostgreSQL, quotes can enclose it.
fn value_length(text: &str) -> usize {
    match text.strip_prefix('\'') {
        Some(quoted) => quoted.find('\'').map_or(text.len(), |end| end + 2),
        None => text.find(|c: char| c.is_whitespace() || matches!(c, '&' | ';')).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_replaced() {
        for (text, shown) in [
            ("postgres://u:pw@h/db", "postgres://u:***@h/db"),
            ("POSTGRES://u:pw@h", "POSTGRES://u:***@h"),
            ("postgres://:pw@h/db", "postgres://:***@h/db"),
            ("postgres://u:p/w@x?y#z@h/db", "postgres://u:***@h/db"),
            ("postgres://u:p w@h", "postgres://u:***@h"),
            ("https://token@h", "https://***@h"),
            ("https://u:pw@[::1]:80", "https://u:***@[::1]:80"),
            ("https://a.example, https://u:pw@h", "https://a.example, https:***@h"),
            ("postgres://h/db?user=u&password=pw&x=1", "postgres://h/db?user=u&password=***&x=1"),
            ("postgres://u:pw@h/db?sslpassword=pw", "postgres://u:***@h/db?sslpassword=***"),
            ("host=h PASSWORD='p w' user=u", "host=h PASSWORD=*** user=u"),
            ("Server=h;Pwd=pw;Passwd=pw;", "Server=h;Pwd=***;Passwd=***;"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn other_texts_do_not_change() {
        for text in
            ["", "postgres://u@h/db", "https://a.example:80/x", "a@b", "s3://bucket/prefix", "password=", "é"]
        {
            assert_eq!(without_passwords(text), text);
        }
    }
}
