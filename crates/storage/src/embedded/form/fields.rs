//! The fields of a form, and the headers of an upload that they stand for.

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3Result, s3_error};

/// Fields that are headers of an upload, and the names of the headers.
const HEADERS: [(&str, &str); 8] = [
    ("acl", "x-amz-acl"),
    ("x-amz-acl", "x-amz-acl"),
    ("cache-control", "cache-control"),
    ("content-disposition", "content-disposition"),
    ("content-encoding", "content-encoding"),
    ("content-language", "content-language"),
    ("content-type", "content-type"),
    ("expires", "expires"),
];
/// Beginnings of names of fields that are headers with the same name.
const HEADER_PREFIXES: [&str; 4] =
    ["x-amz-meta-", "x-amz-checksum-", "x-amz-server-side-encryption", "x-amz-storage-class"];
/// Fields that are not stored: those of the signature and of the response. Browsers send the name of the form's
/// button.
const NOT_STORED: [&str; 12] = [
    "bucket",
    "key",
    "policy",
    "redirect",
    "submit",
    "success_action_redirect",
    "success_action_status",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

/// The fields before the file. Their names are in lower case.
#[derive(Clone, Debug)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The field `bucket` always has the bucket of the URL.
    pub(super) fn new(bucket: &str) -> Self {
        Self(vec![("bucket".to_owned(), bucket.to_owned())])
    }

    /// Adds a field.
    ///
    /// # Errors
    /// `InvalidArgument` if the form already has this field with another value, `AccessDenied` if it names another
    /// bucket than the URL.
    pub(super) fn insert(&mut self, name: &str, value: String) -> S3Result<()> {
        let name = name.to_ascii_lowercase();
        match self.get(&name) {
            None => self.0.push((name, value)),
            Some(first) if first == value => {}
            Some(bucket) if name == "bucket" => {
                return Err(s3_error!(
                    AccessDenied,
                    "The form is for the bucket {value:?}, and the URL is that of the bucket {bucket:?}."
                ));
            }
            Some(first) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "The form field {name} has two values, {first:?} and {value:?}."
                ));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A field that every form must have.
    ///
    /// # Errors
    /// `InvalidArgument` if it is missing.
    pub(super) fn required(&self, name: &str) -> S3Result<&str> {
        self.get(name).ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "Bucket POST must contain a field named '{name}'. If it is specified, please check the order of the fields."
            )
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Replaces the variable `${filename}` in all fields but the policy and its signature. Only the last
    /// component of a path is the name.
    pub(super) fn expand(&mut self, file_name: &str) {
        let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        for (field, value) in &mut self.0 {
            if !matches!(field.as_str(), "policy" | "x-amz-signature") {
                *value = value.replace("${filename}", name);
            }
        }
    }

    /// The headers of the upload.
    ///
    /// # Errors
    /// `NotImplemented` with the name of a field that the server does not support, `InvalidArgument` if a
    /// value cannot be a header.
    pub(super) fn headers(&self) -> S3Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (field, value) in &self.0 {
            if NOT_STORED.contains(&field.as_str()) || field.starts_with("x-ignore-") {
                continue;
            }
            let known = HEADERS.iter().find(|(known, _)| known == field).map(|(_, header)| *header);
            let same =
                HEADER_PREFIXES.iter().any(|prefix| field.starts_with(prefix)).then_some(field.as_str());
            let header = known.or(same).ok_or_else(|| {
                s3_error!(NotImplemented, "The form field {field} is not supported. Remove it from the form.")
            })?;
            let invalid =
                || s3_error!(InvalidArgument, "The form field {field} cannot be stored as a header.");
            let name = HeaderName::try_from(header).map_err(|_| invalid())?;
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new("pics");
        for (name, value) in pairs {
            fields.insert(name, (*value).to_owned()).expect("a new field");
        }
        fields
    }

    #[test]
    fn fields_become_headers() {
        let headers = fields(&[
            ("ACL", "private"),
            ("Content-Type", "image/png"),
            ("x-amz-meta-a", "虎"),
            ("x-amz-checksum-sha256", "x"),
            ("key", "k"),
            ("X-Amz-Signature", "s"),
            ("x-ignore-me", "1"),
        ])
        .headers()
        .expect("headers");
        assert_eq!(headers.len(), 4);
        assert_eq!(headers.get("x-amz-acl").expect("set"), "private");
        assert_eq!(headers.get("x-amz-meta-a").expect("set").as_bytes(), "虎".as_bytes());
    }

    #[test]
    fn other_fields_are_refused_by_name() {
        for name in ["tagging", "x-amz-copy-source", "x-amz-decoded-content-length", "content-md5", "range"] {
            let error = fields(&[(name, "1")]).headers().expect_err(name);
            assert_eq!(error.code(), &S3ErrorCode::NotImplemented);
            assert!(error.message().expect("a message").contains(name), "{name}");
        }
        let error = fields(&[("x-amz-meta-a", "1\r\n2")]).headers().expect_err("a line break");
        assert_eq!(error.code(), &S3ErrorCode::InvalidArgument);
    }

    #[test]
    fn a_field_has_one_value() {
        let mut fields = fields(&[("key", "a")]);
        assert!(fields.insert("Key", "a".into()).is_ok() && fields.insert("bucket", "pics".into()).is_ok());
        assert!(
            fields.insert("KEY", "b".into()).is_err() && fields.insert("bucket", "other".into()).is_err()
        );
    }

    #[test]
    fn file_names() {
        for (file_name, key) in
            [("a.png", "u/a.png"), ("C:\\d\\a.png", "u/a.png"), ("../../a", "u/a"), ("", "u/")]
        {
            let mut fields = fields(&[("key", "u/${filename}"), ("policy", "${filename}")]);
            fields.expand(file_name);
            assert_eq!((fields.get("key"), fields.get("policy")), (Some(key), Some("${filename}")));
        }
    }
}
