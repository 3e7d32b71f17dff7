//! CloudFormation stacks: reading, changing, following events.

use std::collections::HashSet;
use std::fmt;

use crate::account::Aws;
use crate::cloudformation::{Parameter, StackDescription, StackInput};
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
    fn of(stack: StackDescription) -> Self {
        let outputs = stack.outputs.members.into_iter().map(|one| (one.output_key, one.output_value));
        let parameters =
            stack.parameters.members.into_iter().map(|one| (one.parameter_key, one.parameter_value));
        Self {
            id: stack.stack_id,
            status: stack.stack_status,
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
        let one = |(key, value): &(&'static str, String)| Parameter { key, value: Some(value.clone()) };
        self.parameters.iter().map(one).collect()
    }

    /// The parameters for an existing stack. The operator's parameters keep their values unless they are
    /// given.
    fn parameters_after(&self, before: &StackState) -> Vec<Parameter> {
        let given = |name: &str| self.parameters.iter().any(|(key, _)| *key == name);
        let known = |name: &str| before.parameters.iter().any(|(key, _)| key == name);
        let kept = OPERATOR_PARAMETERS.into_iter().filter(|name| !given(name) && known(name));
        self.parameters().into_iter().chain(kept.map(|key| Parameter { key, value: None })).collect()
    }

    fn input(&self, parameters: Vec<Parameter>) -> StackInput<'_> {
        let (name, template) = (self.name.as_str(), self.template);
        StackInput { name, template, parameters, tag: ("tintype", name) }
    }
}

impl Aws {
    /// Reads the stack; `None` if it does not exist. `name` may be the stack's id, which AWS also knows after
    /// deletion.
    pub(crate) async fn stack(&self, name: &str) -> Result<Option<StackState>, AwsError> {
        let found = self.describe_stack(name).await?.map(StackState::of);
        Ok(found.filter(|state| state.status != "DELETE_COMPLETE"))
    }

    /// Creates the stack and waits for the end.
    pub(crate) async fn create(
        &self,
        spec: &StackSpec<'_>,
        watcher: Watcher<'_>,
    ) -> Result<StackState, AwsError> {
        let id = self.create_stack(&spec.input(spec.parameters())).await?;
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
        match self.update_stack(&spec.input(spec.parameters_after(before))).await {
            Ok(id) => self.follow(&id, seen, watcher).await.map(Some),
            Err(AwsError::Failed { message, .. }) if message.contains("No updates are to be performed") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the stack with this id and waits for the end.
    pub(crate) async fn delete(&self, id: &str, watcher: Watcher<'_>) -> Result<(), AwsError> {
        let seen = self.events(id).await?.into_iter().map(|(id, _)| id).collect();
        self.delete_stack(id).await?;
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
        let gone = || StackState {
            id: id.to_owned(),
            status: "DELETE_COMPLETE".to_owned(),
            ..StackState::default()
        };
        Ok(self.describe_stack(id).await?.map_or_else(gone, StackState::of))
    }

    /// All events of the stack with their ids, the oldest first.
    async fn events(&self, stack: &str) -> Result<Vec<(String, Event)>, AwsError> {
        let events = self.stack_events(stack).await?.into_iter().rev().map(|event| {
            let shown = Event {
                resource: event.logical_resource_id,
                kind: event.resource_type,
                status: event.resource_status,
                reason: Some(event.resource_status_reason).filter(|reason| !reason.is_empty()),
            };
            (event.event_id, shown)
        });
        Ok(events.collect())
    }

    /// The physical name of a resource, also if its creation failed.
    pub(crate) async fn resource(
        &self,
        stack: &str,
        logical: &'static str,
    ) -> Result<Option<String>, AwsError> {
        let mut resources = self.stack_resources(stack).await?.into_iter();
        let found = resources
            .find(|one| one.logical_resource_id == logical && one.resource_status != "DELETE_COMPLETE");
        Ok(found.map(|one| one.physical_resource_id).filter(|name| !name.is_empty()))
    }
}
