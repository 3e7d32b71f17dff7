//! CloudFormation stacks: reading, changing, following events.

use std::collections::HashSet;
use std::fmt;

use aws_sdk_cloudformation::types::{Capability, Parameter, Stack as Description, Tag};

use crate::account::Aws;
use crate::error::AwsError;
use crate::plan::StackName;

/// An event of a resource in the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The resource's name in the template, or the stack's.
    pub resource: String,
    /// The resource type, for example `AWS::S3::Bucket`.
    pub kind: String,
    /// The status, for example `CREATE_COMPLETE`.
    pub status: String,
    /// AWS's reason, if there is one.
    pub reason: Option<String>,
}

impl Event {
    /// Whether the resource failed itself. AWS cancels other resources after a failure.
    pub fn is_failure(&self) -> bool {
        let canceled = self.reason.as_deref().is_some_and(|reason| reason.contains("cancelled"));
        self.status.ends_with("_FAILED") && !canceled
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} {} ({})", self.status, self.resource, self.kind)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// The result of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The API's URL.
    pub url: String,
    /// The bucket with images and records.
    pub bucket: String,
    /// The function's name.
    pub function: String,
    /// Whether the deployment changed the stack.
    pub changed: bool,
}

/// Receives the events of a stack.
pub(crate) type Watcher<'a> = &'a mut (dyn FnMut(&Event) + Send);

/// The state of a stack at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackState {
    pub(crate) id: String,
    pub(crate) status: String,
    outputs: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
}

impl StackState {
    fn of(stack: &Description) -> Self {
        let outputs = stack.outputs().iter();
        let outputs =
            outputs.filter_map(|one| Some((one.output_key()?.to_owned(), one.output_value()?.to_owned())));
        let parameters = stack.parameters().iter();
        let parameters = parameters
            .filter_map(|one| Some((one.parameter_key()?.to_owned(), one.parameter_value()?.to_owned())));
        Self {
            id: stack.stack_id().unwrap_or_default().to_owned(),
            status: stack.stack_status().map(ToString::to_string).unwrap_or_default(),
            outputs: outputs.collect(),
            parameters: parameters.collect(),
        }
    }

    /// The value of a parameter; `None` if it is empty or missing.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS")
    }

    pub(crate) fn output(&self, name: &'static str) -> Result<String, AwsError> {
        let found = self.outputs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).ok_or(AwsError::MissingOutput(name))
    }
}

/// Template parameters that only an operator sets. An update must repeat them, or they return to the
/// template's defaults.
const OPERATOR_PARAMETERS: [&str; 8] = [
    "AlarmTopic",
    "AllowedOrigin",
    "EngineSecondsPerHour",
    "KeepPictures",
    "LogDays",
    "MostInstances",
    "RequestsPerSecond",
    "Timeout",
];

/// The wanted content of a stack.
pub(crate) struct StackSpec<'a> {
    pub(crate) name: &'a StackName,
    pub(crate) template: &'a str,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl StackSpec<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let one = |(key, value): &(&'static str, String)| {
            Parameter::builder().parameter_key(*key).parameter_value(value).build()
        };
        self.parameters.iter().map(one).collect()
    }

    /// The parameters for an existing stack. The operator's parameters keep their values unless they are
    /// given.
    fn parameters_after(&self, before: &StackState) -> Vec<Parameter> {
        let given = |name: &str| self.parameters.iter().any(|(key, _)| *key == name);
        let known = |name: &str| before.parameters.iter().any(|(key, _)| key == name);
        let kept = OPERATOR_PARAMETERS.iter().filter(|name| !given(name) && known(name));
        let kept =
            kept.map(|name| Parameter::builder().parameter_key(*name).use_previous_value(true).build());
        self.parameters().into_iter().chain(kept).collect()
    }

    fn tag(&self) -> Tag {
        Tag::builder().key("tintype").value(self.name.as_str()).build()
    }
}

impl Aws {
    /// Reads the stack; `None` if it does not exist. `name` may be the stack's id, which AWS also knows after
    /// deletion.
    pub(crate) async fn stack(&self, name: &str) -> Result<Option<StackState>, AwsError> {
        let asked = self.stacks.describe_stacks().stack_name(name).send().await;
        match asked.map_err(AwsError::of("read the stack (cloudformation:DescribeStacks)")) {
            Ok(answer) => {
                let state = answer.stacks().first().map(StackState::of);
                Ok(state.filter(|state| state.status != "DELETE_COMPLETE"))
            }
            Err(AwsError::Failed { message, .. }) if message.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the stack and waits for the end.
    pub(crate) async fn create(
        &self,
        spec: &StackSpec<'_>,
        watcher: Watcher<'_>,
    ) -> Result<StackState, AwsError> {
        let request = self.stacks.create_stack().stack_name(spec.name.as_str()).template_body(spec.template);
        let request = request.set_parameters(Some(spec.parameters())).tags(spec.tag());
        let created = request.capabilities(Capability::CapabilityIam).send().await;
        let created = created.map_err(AwsError::of("create the stack"))?;
        let id = created.stack_id.unwrap_or_else(|| spec.name.as_str().to_owned());
        self.follow(&id, HashSet::new(), watcher).await
    }

    /// Updates the stack and waits for the end; `None` if nothing differs.
    pub(crate) async fn update(
        &self,
        spec: &StackSpec<'_>,
        before: &StackState,
        watcher: Watcher<'_>,
    ) -> Result<Option<StackState>, AwsError> {
        let seen = self.events(spec.name.as_str()).await?.into_iter().map(|(id, _)| id).collect();
        let request = self.stacks.update_stack().stack_name(spec.name.as_str()).template_body(spec.template);
        let request = request.set_parameters(Some(spec.parameters_after(before))).tags(spec.tag());
        let updated = request.capabilities(Capability::CapabilityIam).send().await;
        match updated.map_err(AwsError::of("update the stack")) {
            Ok(updated) => {
                let id = updated.stack_id.unwrap_or_else(|| spec.name.as_str().to_owned());
                self.follow(&id, seen, watcher).await.map(Some)
            }
            Err(AwsError::Failed { message, .. }) if message.contains("No updates are to be performed") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the stack with this id and waits for the end.
    pub(crate) async fn delete(&self, id: &str, watcher: Watcher<'_>) -> Result<(), AwsError> {
        let seen = self.events(id).await?.into_iter().map(|(id, _)| id).collect();
        let asked = self.stacks.delete_stack().stack_name(id).send().await;
        asked.map_err(AwsError::of("delete the stack"))?;
        self.follow(id, seen, watcher).await.map(|_| ())
    }

    /// Passes new events to `watcher` until the operation ends.
    async fn follow(
        &self,
        id: &str,
        mut seen: HashSet<String>,
        watcher: Watcher<'_>,
    ) -> Result<StackState, AwsError> {
        let mut reasons = Vec::new();
        loop {
            // The state is read first: all events of an ended operation exist by then.
            let state = self.state_by_id(id).await?;
            for (event_id, event) in self.events(id).await? {
                if seen.insert(event_id) {
                    watcher(&event);
                    if event.is_failure() {
                        let reason = event.reason.as_deref().unwrap_or(&event.status);
                        reasons.push(format!("{}: {reason}", event.resource));
                    }
                }
            }
            if !state.is_changing() {
                let succeeded =
                    matches!(&*state.status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "DELETE_COMPLETE");
                return if succeeded {
                    Ok(state)
                } else {
                    Err(AwsError::Stack { status: state.status, reasons })
                };
            }
            tokio::time::sleep(self.poll_interval).await;
        }
    }

    async fn state_by_id(&self, id: &str) -> Result<StackState, AwsError> {
        let asked = self.stacks.describe_stacks().stack_name(id).send().await;
        let gone = || StackState {
            id: id.to_owned(),
            status: "DELETE_COMPLETE".to_owned(),
            ..StackState::default()
        };
        match asked.map_err(AwsError::of("read the stack (cloudformation:DescribeStacks)")) {
            Ok(answer) => Ok(answer.stacks().first().map_or_else(gone, StackState::of)),
            Err(AwsError::Failed { message, .. }) if message.contains("does not exist") => Ok(gone()),
            Err(error) => Err(error),
        }
    }

    /// All events of the stack with their ids, the oldest first.
    async fn events(&self, stack: &str) -> Result<Vec<(String, Event)>, AwsError> {
        let mut events = Vec::new();
        let mut pages = self.stacks.describe_stack_events().stack_name(stack).into_paginator().items().send();
        while let Some(event) = pages.next().await {
            let event = match event.map_err(AwsError::of("read the stack's events")) {
                Ok(event) => event,
                // The stack was deleted together with its events.
                Err(AwsError::Failed { message, .. }) if message.contains("does not exist") => break,
                Err(error) => return Err(error),
            };
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let reason = event.resource_status_reason().filter(|reason| !reason.is_empty());
            let shown = Event {
                resource: text(event.logical_resource_id()),
                kind: text(event.resource_type()),
                status: event.resource_status().map(ToString::to_string).unwrap_or_default(),
                reason: reason.map(str::to_owned),
            };
            events.push((text(event.event_id()), shown));
        }
        events.reverse();
        Ok(events)
    }

    /// The physical name of a resource, also if its creation failed.
    pub(crate) async fn resource(
        &self,
        stack: &str,
        logical: &'static str,
    ) -> Result<Option<String>, AwsError> {
        let asked = self.stacks.describe_stack_resources().stack_name(stack).send().await;
        let answer = asked.map_err(AwsError::of("list the stack's resources"))?;
        let found = answer.stack_resources().iter().find(|one| {
            let gone = one.resource_status().is_some_and(|status| status.as_str() == "DELETE_COMPLETE");
            one.logical_resource_id() == Some(logical) && !gone
        });
        let name = found.and_then(|one| one.physical_resource_id()).filter(|name| !name.is_empty());
        Ok(name.map(str::to_owned))
    }
}
