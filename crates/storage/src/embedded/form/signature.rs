//! Verifies the signature of a form's policy (Signature Version 4).

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use s3s::{S3ErrorCode, S3Result, s3_error};
use subtle::ConstantTimeEq;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::fields::Fields;
use super::policy::Policy;
use crate::embedded::credentials::AccessKeys;
use crate::embedded::request_check::{MAX_CLOCK_DIFFERENCE, check_region, check_service};
use crate::embedded::s3;

/// A signing key is valid for 7 days.
const MAX_AGE: Duration = Duration::days(7);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Verifies the signature, and reads the policy that it covers.
///
/// # Errors
/// `AccessDenied` without a policy, `InvalidRequest` for a Signature Version 2, `InvalidArgument` if a field is
/// missing or invalid, `InvalidAccessKeyId` or `SignatureDoesNotMatch` if the signature is not valid.
pub(super) fn verify(fields: &Fields, keys: &AccessKeys, now: OffsetDateTime) -> S3Result<Policy> {
    let Some(policy) = fields.get("policy") else {
        return Err(s3_error!(AccessDenied, "The form has no policy. Add a signed policy before the file."));
    };
    if fields.get("x-amz-signature").is_none()
        && (fields.get("signature").is_some() || fields.get("awsaccesskeyid").is_some())
    {
        return Err(s3_error!(
            InvalidRequest,
            "The form has a Signature Version 2, which is not supported. Sign its policy with {ALGORITHM}."
        ));
    }
    let signature = fields.required("x-amz-signature")?;
    let algorithm = fields.required("x-amz-algorithm")?;
    if algorithm != ALGORITHM {
        return Err(s3_error!(InvalidArgument, "x-amz-algorithm is {algorithm:?}; it must be {ALGORITHM}."));
    }
    let credential = fields.required("x-amz-credential")?;
    let scope: Vec<_> = credential.rsplitn(5, '/').collect();
    let [_, service, region, date, id] = scope[..] else {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-credential must have the form ID/DATE/REGION/s3/aws4_request."
        ));
    };
    check_service(credential)?;
    check_region(credential, S3ErrorCode::AuthorizationQueryParametersError)?;
    let signed_at = signing_time(fields.required("x-amz-date")?, date)?;
    if id != keys.id {
        return Err(s3::unknown_access_key(id));
    }
    let key = generate_signing_key(keys.secret.expose(), signed_at.into(), region, service);
    let expected = calculate_signature(key, policy.as_bytes());
    if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        return Err(S3ErrorCode::SignatureDoesNotMatch.into());
    }
    if signed_at - now > Duration::seconds(MAX_CLOCK_DIFFERENCE) || now - signed_at > MAX_AGE {
        return Err(s3_error!(
            AccessDenied,
            "The policy was signed at {signed_at}; it must be signed within the last 7 days."
        ));
    }
    Policy::decode(policy)
}

/// The time in `x-amz-date`, which must be of the scope's date.
fn signing_time(time: &str, date: &str) -> S3Result<OffsetDateTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let parsed =
        PrimitiveDateTime::parse(time, format).ok().filter(|_| time.starts_with(date) && date.len() == 8);
    parsed.map(PrimitiveDateTime::assume_utc).ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "x-amz-date is {time:?}; it must have the form 20260101T000000Z and the date of x-amz-credential."
        )
    })
}

#[cfg(test)]
mod tests {
    use tintype_core::secret::Secret;

    use super::*;

    const DATE: &str = "20151229T000000Z";
    const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";
    /// The example in AWS's documentation, "Browser-Based Uploads Using HTTP POST".
    const POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";

    /// The result for the example with some fields replaced, or removed if the value is empty.
    fn verify(changes: &[(&str, &str)]) -> Result<Policy, S3ErrorCode> {
        let keys = AccessKeys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let mut fields = Fields::new("sigv4examplebucket");
        let example = [
            ("policy", POLICY),
            ("x-amz-algorithm", ALGORITHM),
            ("x-amz-credential", CREDENTIAL),
            ("x-amz-date", DATE),
            ("x-amz-signature", SIGNATURE),
        ];
        let changed =
            |name: &str| changes.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
        let others = changes.iter().filter(|(name, _)| example.iter().all(|(known, _)| known != name));
        for (name, value) in
            example.iter().map(|(name, value)| (*name, changed(name).unwrap_or(value))).chain(others.copied())
        {
            if !value.is_empty() {
                fields.insert(name, value.to_owned()).expect("a new field");
            }
        }
        let now = signing_time(DATE, "20151229").expect("a time") + Duration::HOUR;
        super::verify(&fields, &keys, now).map_err(|error| error.code().clone())
    }

    #[test]
    fn the_example_of_aws() {
        assert!(verify(&[]).is_ok());
    }

    #[test]
    fn invalid_signatures() {
        let forged = format!("9{}", &SIGNATURE[1..]);
        let tampered = POLICY.replacen("eyAi", "eyAg", 1);
        let other = |id: &str| CREDENTIAL.replace("AKIAIOSFODNN7EXAMPLE", id);
        for (changes, code) in [
            (&[("x-amz-signature", forged.as_str())][..], S3ErrorCode::SignatureDoesNotMatch),
            (&[("x-amz-signature", "x")], S3ErrorCode::SignatureDoesNotMatch),
            (&[("policy", &tampered)], S3ErrorCode::SignatureDoesNotMatch),
            (
                &[("x-amz-credential", &CREDENTIAL.replace("us-east-1", "eu-west-1"))],
                S3ErrorCode::SignatureDoesNotMatch,
            ),
            (&[("x-amz-credential", &other("AKIAOTHER"))], S3ErrorCode::InvalidAccessKeyId),
            (&[("x-amz-credential", &CREDENTIAL.replace("/s3/", "/sts/"))], S3ErrorCode::AccessDenied),
            (&[("x-amz-credential", "AKIAIOSFODNN7EXAMPLE")], S3ErrorCode::InvalidArgument),
            (&[("x-amz-date", "20151228T000000Z")], S3ErrorCode::InvalidArgument),
            (&[("x-amz-date", "today")], S3ErrorCode::InvalidArgument),
            (&[("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256")], S3ErrorCode::InvalidArgument),
            (&[("x-amz-signature", "")], S3ErrorCode::InvalidArgument),
            (&[("x-amz-credential", "")], S3ErrorCode::InvalidArgument),
            (&[("policy", "")], S3ErrorCode::AccessDenied),
            (
                &[("x-amz-signature", ""), ("signature", "s"), ("AWSAccessKeyId", "a")],
                S3ErrorCode::InvalidRequest,
            ),
        ] {
            assert_eq!(verify(changes), Err(code), "{changes:?}");
        }
    }

    #[test]
    fn policies_are_signed_within_seven_days() {
        let keys = AccessKeys { id: "AK".into(), secret: Secret::new("secret") };
        let signed_at = signing_time(DATE, "20151229").expect("a time");
        let policy = base64_simd::STANDARD
            .encode_to_string(r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": []}"#);
        let signing_key = generate_signing_key("secret", signed_at.into(), "us-east-1", "s3");
        let signature = calculate_signature(signing_key, policy.as_bytes());
        let mut fields = Fields::new("pics");
        for (name, value) in [
            ("policy", policy.as_str()),
            ("x-amz-algorithm", ALGORITHM),
            ("x-amz-credential", "AK/20151229/us-east-1/s3/aws4_request"),
            ("x-amz-date", DATE),
            ("x-amz-signature", &signature),
        ] {
            fields.insert(name, value.to_owned()).expect("a new field");
        }
        let is_valid = |age: Duration| super::verify(&fields, &keys, signed_at + age).is_ok();
        assert!(is_valid(Duration::ZERO) && is_valid(Duration::days(7)) && is_valid(Duration::minutes(-15)));
        assert!(!is_valid(Duration::days(7) + Duration::SECOND) && !is_valid(Duration::minutes(-16)));
    }
}
