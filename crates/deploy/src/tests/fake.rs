//! Somebody who plays AWS over HTTP: says what the script has, and writes down what was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::account::testing::account;
use crate::{Aws, Identity};

/// One answer: its status and body.
type Answer = (u16, String);

/// What to say to an action, and what was asked.
#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    asked: Vec<String>,
    forms: HashMap<String, String>,
}

/// The player.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    /// Says this to an action, after what it was told to say before. The last answer is given for ever.
    pub(super) fn says(self, action: &str, status: u16, body: impl Into<String>) -> Self {
        let mut script = self.0.lock().expect("no panic");
        script.answers.entry(action.to_owned()).or_default().push_back((status, body.into()));
        drop(script);
        self
    }

    /// CloudFormation's answer to an action.
    pub(super) fn result(self, action: &str, inside: &str) -> Self {
        let body = format!("<{action}Response><{action}Result>{inside}</{action}Result></{action}Response>");
        self.says(action, 200, body)
    }

    /// CloudFormation's refusal.
    pub(super) fn refuses(self, action: &str, message: &str) -> Self {
        let inside = format!("<Type>Sender</Type><Code>ValidationError</Code><Message>{message}</Message>");
        self.says(action, 400, format!("<ErrorResponse><Error>{inside}</Error></ErrorResponse>"))
    }

    /// The stack as it will be described.
    pub(super) fn stack(self, status: &str) -> Self {
        let output = |key: &str, value: &str| {
            format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
        };
        let outputs =
            output("Url", "https://a/api") + &output("Bucket", "pictures") + &output("Function", "f");
        self.result(
            "DescribeStacks",
            &format!(
                "<Stacks><member><StackId>arn:stack</StackId><StackStatus>{status}</StackStatus>\
                 <Parameters><member><ParameterKey>KeepPictures</ParameterKey><ParameterValue>90</ParameterValue></member>\
                 </Parameters><Outputs>{outputs}</Outputs></member></Stacks>"
            ),
        )
    }

    /// Events as they will be listed: id, resource, status and reason, the newest first.
    pub(super) fn events(self, events: &[(&str, &str, &str, &str)]) -> Self {
        let one = |(id, resource, status, reason): &(&str, &str, &str, &str)| {
            format!(
                "<member><StackId>arn:stack</StackId><StackName>s</StackName><EventId>{id}</EventId>\
                 <LogicalResourceId>{resource}</LogicalResourceId><ResourceStatus>{status}</ResourceStatus>\
                 <ResourceStatusReason>{reason}</ResourceStatusReason></member>"
            )
        };
        let events: String = events.iter().map(one).collect();
        self.result("DescribeStackEvents", &format!("<StackEvents>{events}</StackEvents>"))
    }

    /// What was asked until now, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.lock().expect("no panic").asked.clone()
    }

    /// The form that was last sent with an action.
    pub(super) fn form(&self, action: &str) -> Vec<(String, String)> {
        let forms = &self.0.lock().expect("no panic").forms;
        let pairs = forms[action].split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Listens on a free port, and gives the account that it plays.
    pub(super) async fn play(&self) -> Aws {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let fake = self.clone();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let action = action(&method, &uri, &headers, &body);
            fake.answer(&action, String::from_utf8_lossy(&body).into_owned())
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        account(&url)
    }

    fn answer(&self, action: &str, form: String) -> Response {
        let mut script = self.0.lock().expect("no panic");
        script.forms.insert(action.to_owned(), form);
        script.asked.push(action.to_owned());
        let (status, body) = match script.answers.get_mut(action) {
            Some(answers) if answers.len() > 1 => answers.pop_front().expect("more than one"),
            Some(answers) => answers.front().cloned().expect("never left empty"),
            None => (200, String::new()),
        };
        (StatusCode::from_u16(status).expect("a status"), body).into_response()
    }
}

/// `CreateStack`, `SageMaker.DescribeEndpoint`, or for S3 `GET /bucket?versions`.
fn action(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> String {
    if let Some(target) = headers.get("x-amz-target") {
        return target.to_str().expect("ASCII").to_owned();
    }
    let form = std::str::from_utf8(body).ok().and_then(|form| form.strip_prefix("Action="));
    if let Some(form) = form {
        return form.split('&').next().unwrap_or_default().to_owned();
    }
    let query = uri.query().and_then(|query| query.split(['&', '=']).next());
    let query = query.filter(|name| matches!(*name, "versions" | "delete" | "tagging" | "publicAccessBlock"));
    let query = query.map(|name| format!("?{name}")).unwrap_or_default();
    format!("{method} {}{query}", uri.path().trim_end_matches('/'))
}

/// Who we are there.
pub(super) fn identity() -> Identity {
    Identity { account: "123456789012".into(), arn: "arn:aws:iam::123456789012:user/me".into() }
}
