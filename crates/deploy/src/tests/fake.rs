//! A fake AWS over HTTP with scripted responses. It records the calls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::account::testing::account;
use crate::{Aws, Identity};

/// A response: status and body.
type Answer = (u16, String);

/// Returns IAM's decision for a principal, an action and a resource, as the XML inside the evaluation.
type Judge = fn(&str, &str, &str) -> &'static str;

/// The scripted responses and the recorded calls.
#[derive(Default)]
struct Script {
    responses: HashMap<String, VecDeque<Answer>>,
    judge: Option<Judge>,
    calls: Vec<String>,
    forms: Vec<(String, Vec<(String, String)>)>,
}

/// The fake.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    /// Adds a response to an action, after the earlier ones. The last response repeats.
    pub(crate) fn responds(self, action: &str, status: u16, body: impl Into<String>) -> Self {
        let mut script = self.0.lock().expect("no panic");
        script.responses.entry(action.to_owned()).or_default().push_back((status, body.into()));
        drop(script);
        self
    }

    /// Adds a CloudFormation response to an action.
    pub(crate) fn result(self, action: &str, inside: &str) -> Self {
        let body = format!("<{action}Response><{action}Result>{inside}</{action}Result></{action}Response>");
        self.responds(action, 200, body)
    }

    /// Adds a CloudFormation error.
    pub(crate) fn rejects(self, action: &str, message: &str) -> Self {
        let inside = format!("<Type>Sender</Type><Code>ValidationError</Code><Message>{message}</Message>");
        self.responds(action, 400, format!("<ErrorResponse><Error>{inside}</Error></ErrorResponse>"))
    }

    /// Sets IAM's decisions for simulations without a scripted response.
    pub(crate) fn judges(self, judge: Judge) -> Self {
        self.0.lock().expect("no panic").judge = Some(judge);
        self
    }

    /// Adds a description of the stack.
    pub(crate) fn stack(self, status: &str) -> Self {
        self.stack_with(status, &[], &[])
    }

    /// Adds a description of the stack with further parameters and responses.
    pub(crate) fn stack_with(self, status: &str, more: &[(&str, &str)], outputs: &[(&str, &str)]) -> Self {
        let parameter = |(key, value): &(&str, &str)| {
            format!(
                "<member><ParameterKey>{key}</ParameterKey><ParameterValue>{value}</ParameterValue></member>"
            )
        };
        let parameters = parameter(&("KeepPictures", "90")) + &more.iter().map(parameter).collect::<String>();
        let output = |(key, value): &(&str, &str)| {
            format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
        };
        let always = [("Url", "https://a/api"), ("Bucket", "pictures"), ("Function", "f")];
        let outputs: String = always.iter().chain(outputs).map(output).collect();
        self.result(
            "DescribeStacks",
            &format!(
                "<Stacks><member><StackId>arn:stack</StackId><StackStatus>{status}</StackStatus>\
                 <Parameters>{parameters}</Parameters><Outputs>{outputs}</Outputs></member></Stacks>"
            ),
        )
    }

    /// Adds a list of events: id, resource, status and reason, the newest first.
    pub(crate) fn events(self, events: &[(&str, &str, &str, &str)]) -> Self {
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

    /// The recorded calls, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.0.lock().expect("no panic").calls.clone()
    }

    /// The form of the last call of an action.
    pub(crate) fn form(&self, action: &str) -> Vec<(String, String)> {
        self.forms(action).pop().expect("sent")
    }

    /// The forms of all calls of an action, in order.
    pub(crate) fn forms(&self, action: &str) -> Vec<Vec<(String, String)>> {
        let forms = &self.0.lock().expect("no panic").forms;
        forms.iter().filter(|(name, _)| name == action).map(|(_, form)| form.clone()).collect()
    }

    /// Starts the server on a free port and returns an account that uses it.
    pub(crate) async fn start(&self) -> Aws {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let fake = self.clone();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let action = action(&method, &uri, &headers, &body);
            fake.answer(&action, form_urlencoded::parse(&body).into_owned().collect())
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        account(&url)
    }

    fn answer(&self, action: &str, form: Vec<(String, String)>) -> Response {
        let mut script = self.0.lock().expect("no panic");
        script.forms.push((action.to_owned(), form.clone()));
        script.calls.push(action.to_owned());
        let judge = script.judge.filter(|_| action == "SimulatePrincipalPolicy");
        let (status, body) = match script.responses.get_mut(action) {
            Some(responses) if responses.len() > 1 => responses.pop_front().expect("more than one"),
            Some(responses) => responses.front().cloned().expect("never left empty"),
            None => (200, judge.map(|judge| simulation(judge, &form)).unwrap_or_default()),
        };
        (StatusCode::from_u16(status).expect("a status"), body).into_response()
    }
}

/// IAM's response, as its reference documents it.
fn simulation(judge: Judge, form: &[(String, String)]) -> String {
    let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let principal = value("PolicySourceArn").expect("a principal");
    let resource = value("ResourceArns.member.1").expect("a resource");
    let actions =
        form.iter().filter(|(key, _)| key.starts_with("ActionNames.member.")).map(|(_, value)| value);
    let evaluations: String = actions
        .map(|action| {
            let decided = judge(principal, action, resource);
            format!("<member><EvalActionName>{action}</EvalActionName>{decided}</member>")
        })
        .collect();
    format!(
        "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
         <SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>\
         <EvaluationResults>{evaluations}</EvaluationResults></SimulatePrincipalPolicyResult>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></SimulatePrincipalPolicyResponse>"
    )
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

/// The identity of the fake account.
pub(crate) fn identity() -> Identity {
    Identity { account: "123456789012".into(), arn: "arn:aws:iam::123456789012:user/me".into() }
}
