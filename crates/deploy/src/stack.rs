//! A CloudFormation stack: looking, changing, following.

use std::collections::HashSet;
use std::fmt;

use aws_sdk_cloudformation::types::{Capability, Parameter, Stack as Description, Tag};

use crate::account::Aws;
use crate::error::AwsError;
use crate::plan::StackName;

/// Something that happened to a resource of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The resource's name in the template, or the stack's.
    pub resource: String,
    /// What it is, for example `AWS::S3::Bucket`.
    pub kind: String,
    /// Its status, for example `CREATE_COMPLETE`.
    pub status: String,
    /// Why, if AWS says.
    pub reason: Option<String>,
}

impl Event {
    /// The resource failed by itself, not because another one did.
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

/// What a stack is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Where the API is.
    pub url: String,
    /// Where pictures and records are.
    pub bucket: String,
    /// The function's name.
    pub function: String,
    /// Something was changed.
    pub changed: bool,
}

/// Whoever watches.
pub(crate) type Watcher<'a> = &'a mut (dyn FnMut(&Event) + Send);

/// A stack as it is at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) status: String,
    outputs: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
}

impl State {
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

    /// What a parameter was given; none if it is empty or not there.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS")
    }

    pub(crate) fn output(&self, name: &'static str) -> Result<String, AwsError> {
        let found = self.outputs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).ok_or(AwsError::Output(name))
    }
}

/// The template's parameters that only its operator sets. What is not sent in an update falls back to the template's default.
const OPERATORS: [&str; 8] = [
    "AlarmTopic",
    "AllowedOrigin",
    "EngineSecondsPerHour",
    "KeepPictures",
    "LogDays",
    "MostInstances",
    "RequestsPerSecond",
    "Timeout",
];

/// What to make of a stack.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a StackName,
    pub(crate) template: &'a str,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Wanted<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let one = |(key, value): &(&'static str, String)| {
            Parameter::builder().parameter_key(*key).parameter_value(value).build()
        };
        self.parameters.iter().map(one).collect()
    }

    /// The parameters for a stack that is there: what its operator may have set stays, unless it is given now.
    fn parameters_after(&self, before: &State) -> Vec<Parameter> {
        let given = |name: &str| self.parameters.iter().any(|(key, _)| *key == name);
        let known = |name: &str| before.parameters.iter().any(|(key, _)| key == name);
        let kept = OPERATORS.iter().filter(|name| !given(name) && known(name));
        let kept =
            kept.map(|name| Parameter::builder().parameter_key(*name).use_previous_value(true).build());
        self.parameters().into_iter().chain(kept).collect()
    }

    fn tag(&self) -> Tag {
        Tag::builder().key("tintype").value(self.name.as_str()).build()
    }
}

impl Aws {
    /// The stack as it is; none if there is none. `name` may be the stack's id: then a deleted one is still known.
    pub(crate) async fn stack(&self, name: &str) -> Result<Option<State>, AwsError> {
        let asked = self.stacks.describe_stacks().stack_name(name).send().await;
        match asked.map_err(AwsError::of("look at the stack (cloudformation:DescribeStacks)")) {
            Ok(answer) => {
                let state = answer.stacks().first().map(State::of);
                Ok(state.filter(|state| state.status != "DELETE_COMPLETE"))
            }
            Err(AwsError::Failed { said, .. }) if said.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the stack and waits until that has ended.
    pub(crate) async fn create(&self, wanted: &Wanted<'_>, watcher: Watcher<'_>) -> Result<State, AwsError> {
        let request =
            self.stacks.create_stack().stack_name(wanted.name.as_str()).template_body(wanted.template);
        let request = request.set_parameters(Some(wanted.parameters())).tags(wanted.tag());
        let created = request.capabilities(Capability::CapabilityIam).send().await;
        let created = created.map_err(AwsError::of("create the stack"))?;
        let id = created.stack_id.unwrap_or_else(|| wanted.name.as_str().to_owned());
        self.follow(&id, HashSet::new(), watcher).await
    }

    /// Updates the stack and waits until that has ended. None if it is as wanted.
    pub(crate) async fn update(
        &self,
        wanted: &Wanted<'_>,
        before: &State,
        watcher: Watcher<'_>,
    ) -> Result<Option<State>, AwsError> {
        let seen = self.events(wanted.name.as_str()).await?.into_iter().map(|(id, _)| id).collect();
        let request =
            self.stacks.update_stack().stack_name(wanted.name.as_str()).template_body(wanted.template);
        let request = request.set_parameters(Some(wanted.parameters_after(before))).tags(wanted.tag());
        let updated = request.capabilities(Capability::CapabilityIam).send().await;
        match updated.map_err(AwsError::of("update the stack")) {
            Ok(updated) => {
                let id = updated.stack_id.unwrap_or_else(|| wanted.name.as_str().to_owned());
                self.follow(&id, seen, watcher).await.map(Some)
            }
            Err(AwsError::Failed { said, .. }) if said.contains("No updates are to be performed") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the stack with this id and waits until that has ended.
    pub(crate) async fn delete(&self, id: &str, watcher: Watcher<'_>) -> Result<(), AwsError> {
        let seen = self.events(id).await?.into_iter().map(|(id, _)| id).collect();
        let asked = self.stacks.delete_stack().stack_name(id).send().await;
        asked.map_err(AwsError::of("delete the stack"))?;
        self.follow(id, seen, watcher).await.map(|_| ())
    }

    /// Shows what happens until nothing does.
    async fn follow(
        &self,
        id: &str,
        mut seen: HashSet<String>,
        watcher: Watcher<'_>,
    ) -> Result<State, AwsError> {
        let mut reasons = Vec::new();
        loop {
            // In this order: when the stack has ended, all of its events are there.
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
                let went_well =
                    matches!(&*state.status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "DELETE_COMPLETE");
                return if went_well {
                    Ok(state)
                } else {
                    Err(AwsError::Stack { status: state.status, reasons })
                };
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn state_by_id(&self, id: &str) -> Result<State, AwsError> {
        let asked = self.stacks.describe_stacks().stack_name(id).send().await;
        let gone = || State { id: id.to_owned(), status: "DELETE_COMPLETE".to_owned(), ..State::default() };
        match asked.map_err(AwsError::of("look at the stack (cloudformation:DescribeStacks)")) {
            Ok(answer) => Ok(answer.stacks().first().map_or_else(gone, State::of)),
            Err(AwsError::Failed { said, .. }) if said.contains("does not exist") => Ok(gone()),
            Err(error) => Err(error),
        }
    }

    /// Every event of the stack with its id, the oldest first.
    async fn events(&self, stack: &str) -> Result<Vec<(String, Event)>, AwsError> {
        let mut events = Vec::new();
        let mut pages = self.stacks.describe_stack_events().stack_name(stack).into_paginator().items().send();
        while let Some(event) = pages.next().await {
            let event = match event.map_err(AwsError::of("read what happens to the stack")) {
                Ok(event) => event,
                // The stack is gone, and its events with it.
                Err(AwsError::Failed { said, .. }) if said.contains("does not exist") => break,
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

    /// The physical name of a resource of the stack, even of one whose creation failed half-way.
    pub(crate) async fn resource(
        &self,
        stack: &str,
        logical: &'static str,
    ) -> Result<Option<String>, AwsError> {
        let asked = self.stacks.describe_stack_resources().stack_name(stack).send().await;
        let answer = asked.map_err(AwsError::of("look at what is in the stack"))?;
        let found = answer.stack_resources().iter().find(|one| {
            let gone = one.resource_status().is_some_and(|status| status.as_str() == "DELETE_COMPLETE");
            one.logical_resource_id() == Some(logical) && !gone
        });
        let name = found.and_then(|one| one.physical_resource_id()).filter(|name| !name.is_empty());
        Ok(name.map(str::to_owned))
    }
}
