//! CloudFormation's operations that tintype needs, over AWS's Query protocol.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::account::Aws;
use crate::call::{CLOUDFORMATION, ServiceRequest};
use crate::error::AwsError;
use crate::query::{self, Members};

/// CloudFormation's API version.
const VERSION: &str = "2010-05-15";

/// A stack, as `DescribeStacks` returns it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct StackDescription {
    pub(crate) stack_id: String,
    pub(crate) stack_status: String,
    pub(crate) outputs: Members<Output>,
    pub(crate) parameters: Members<ParameterValue>,
}

/// An output of a stack.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Output {
    pub(crate) output_key: String,
    #[serde(default)]
    pub(crate) output_value: String,
}

/// A parameter of an existing stack.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ParameterValue {
    pub(crate) parameter_key: String,
    #[serde(default)]
    pub(crate) parameter_value: String,
}

/// An event of a stack, as `DescribeStackEvents` returns it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct StackEvent {
    pub(crate) event_id: String,
    pub(crate) logical_resource_id: String,
    pub(crate) resource_type: String,
    pub(crate) resource_status: String,
    pub(crate) resource_status_reason: String,
}

/// A resource of a stack, as `DescribeStackResources` returns it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct StackResource {
    pub(crate) logical_resource_id: String,
    pub(crate) physical_resource_id: String,
    pub(crate) resource_status: String,
}

/// The content of a request to create or update a stack.
pub(crate) struct StackInput<'a> {
    pub(crate) name: &'a str,
    pub(crate) template: &'a str,
    pub(crate) parameters: Vec<Parameter>,
    /// Key and value.
    pub(crate) tag: (&'static str, &'a str),
}

/// A parameter of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) key: &'static str,
    /// The value; `None` repeats the stack's present value.
    pub(crate) value: Option<String>,
}

impl StackInput<'_> {
    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = stack_name(self.name);
        fields.extend([
            ("TemplateBody".to_owned(), self.template.to_owned()),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM".to_owned()),
            ("Tags.member.1.Key".to_owned(), self.tag.0.to_owned()),
            ("Tags.member.1.Value".to_owned(), self.tag.1.to_owned()),
        ]);
        for (index, Parameter { key, value }) in self.parameters.iter().enumerate() {
            let field = |name: &str| format!("Parameters.member.{}.{name}", index + 1);
            fields.push((field("ParameterKey"), (*key).to_owned()));
            fields.push(match value {
                Some(value) => (field("ParameterValue"), value.clone()),
                None => (field("UsePreviousValue"), "true".to_owned()),
            });
        }
        fields
    }
}

fn stack_name(name: &str) -> Vec<(String, String)> {
    vec![("StackName".to_owned(), name.to_owned())]
}

impl Aws {
    /// Reads the stack with this name or id; `None` if it does not exist.
    pub(crate) async fn describe_stack(&self, stack: &str) -> Result<Option<StackDescription>, AwsError> {
        let what = "read the stack (cloudformation:DescribeStacks)";
        match self.stack_operation::<DescribeStacks>("DescribeStacks", &stack_name(stack), what).await {
            Ok(answer) => Ok(answer.result.stacks.members.into_iter().next()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the creation of a stack and returns its id.
    pub(crate) async fn create_stack(&self, input: &StackInput<'_>) -> Result<String, AwsError> {
        let what = "create the stack";
        let answer: CreateStack = self.stack_operation("CreateStack", &input.fields(), what).await?;
        Ok(answer.result.stack_id)
    }

    /// Starts an update of a stack and returns its id.
    pub(crate) async fn update_stack(&self, input: &StackInput<'_>) -> Result<String, AwsError> {
        let what = "update the stack";
        let answer: UpdateStack = self.stack_operation("UpdateStack", &input.fields(), what).await?;
        Ok(answer.result.stack_id)
    }

    /// Starts the deletion of the stack with this id.
    pub(crate) async fn delete_stack(&self, id: &str) -> Result<(), AwsError> {
        let what = "delete the stack";
        let request = ServiceRequest::query("DeleteStack", VERSION, &stack_name(id));
        query::check(&self.call(CLOUDFORMATION, request, what).await?, what)
    }

    /// All events of the stack, the newest first. Empty if the stack was deleted together with its events.
    pub(crate) async fn stack_events(&self, stack: &str) -> Result<Vec<StackEvent>, AwsError> {
        let what = "read the stack's events";
        let (mut events, mut fields) = (Vec::new(), stack_name(stack));
        loop {
            let page = match self.stack_operation("DescribeStackEvents", &fields, what).await {
                Ok(DescribeStackEvents { result }) => result,
                Err(error) if is_absent(&error) => return Ok(events),
                Err(error) => return Err(error),
            };
            events.extend(page.stack_events.members);
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => {
                    fields.truncate(1);
                    fields.push(("NextToken".to_owned(), token));
                }
                None => return Ok(events),
            }
        }
    }

    /// The resources of the stack.
    pub(crate) async fn stack_resources(&self, stack: &str) -> Result<Vec<StackResource>, AwsError> {
        let what = "list the stack's resources";
        let answer: DescribeStackResources =
            self.stack_operation("DescribeStackResources", &stack_name(stack), what).await?;
        Ok(answer.result.stack_resources.members)
    }

    async fn stack_operation<T: DeserializeOwned>(
        &self,
        action: &str,
        fields: &[(String, String)],
        what: &'static str,
    ) -> Result<T, AwsError> {
        let request = ServiceRequest::query(action, VERSION, fields);
        query::read(&self.call(CLOUDFORMATION, request, what).await?, what)
    }
}

/// Whether the error says that the stack does not exist. CloudFormation has no code for this.
fn is_absent(error: &AwsError) -> bool {
    matches!(error, AwsError::Failed { message, .. } if message.contains("does not exist"))
}

#[derive(Deserialize)]
struct DescribeStacks {
    #[serde(rename = "DescribeStacksResult")]
    result: DescribeStacksResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStacksResult {
    #[serde(default)]
    stacks: Members<StackDescription>,
}

#[derive(Deserialize)]
struct CreateStack {
    #[serde(rename = "CreateStackResult")]
    result: StackId,
}

#[derive(Deserialize)]
struct UpdateStack {
    #[serde(rename = "UpdateStackResult")]
    result: StackId,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackId {
    stack_id: String,
}

#[derive(Deserialize)]
struct DescribeStackEvents {
    #[serde(rename = "DescribeStackEventsResult")]
    result: DescribeStackEventsResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStackEventsResult {
    #[serde(default)]
    stack_events: Members<StackEvent>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct DescribeStackResources {
    #[serde(rename = "DescribeStackResourcesResult")]
    result: DescribeStackResourcesResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStackResourcesResult {
    #[serde(default)]
    stack_resources: Members<StackResource>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::Fake;

    #[tokio::test]
    async fn all_pages_of_the_events_are_read() {
        let page = |id: &str, token: &str| {
            format!(
                "<StackEvents><member><EventId>{id}</EventId></member></StackEvents>\
                 <NextToken>{token}</NextToken>"
            )
        };
        let last = "<StackEvents><member><EventId>c</EventId></member></StackEvents>";
        let fake = Fake::default()
            .result("DescribeStackEvents", &page("a", "1"))
            .result("DescribeStackEvents", &page("b", "2"))
            .result("DescribeStackEvents", last);
        let events = fake.start().await.stack_events("pictures").await.expect("events");
        let ids: Vec<&str> = events.iter().map(|event| &*event.event_id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        let tokens: Vec<Option<String>> = fake
            .forms("DescribeStackEvents")
            .into_iter()
            .map(|form| form.into_iter().find_map(|(key, value)| (key == "NextToken").then_some(value)))
            .collect();
        assert_eq!(tokens, [None, Some("1".to_owned()), Some("2".to_owned())]);
    }

    #[test]
    fn parameters_have_a_value_or_keep_the_previous_one() {
        let input = StackInput {
            name: "pictures",
            template: "T",
            parameters: vec![
                Parameter { key: "Model", value: Some("builtin".to_owned()) },
                Parameter { key: "LogDays", value: None },
            ],
            tag: ("tintype", "pictures"),
        };
        let fields: Vec<String> =
            input.fields().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            fields,
            [
                "StackName=pictures",
                "TemplateBody=T",
                "Capabilities.member.1=CAPABILITY_IAM",
                "Tags.member.1.Key=tintype",
                "Tags.member.1.Value=pictures",
                "Parameters.member.1.ParameterKey=Model",
                "Parameters.member.1.ParameterValue=builtin",
                "Parameters.member.2.ParameterKey=LogDays",
                "Parameters.member.2.UsePreviousValue=true",
            ]
        );
    }
}
