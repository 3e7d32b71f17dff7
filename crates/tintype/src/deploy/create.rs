//! `tintype deploy`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tintype_core::secret::Secret;
use tintype_deploy::{
    Aws, Deployed, Estimate, Event, MAX_UNZIPPED_BYTES, ModelLocation, Package, Plan, model_size,
};
use tintype_diffusion::ModelFiles;

use super::arguments::{Deploy, Target};
use super::confirm::{Confirmation, require_confirmation};
use super::key;
use crate::config::ModelChoice;
use crate::output::UsageError;
use crate::{engine, output};

/// Deploys the stack and prints its URL and first API key.
pub(super) async fn deploy(arguments: &Deploy) -> Result<()> {
    let folder = model_folder(arguments)?;
    let in_function = ModelLocation::InFunction { folder: folder.is_some() };
    let package = pack(arguments, folder).await?;
    let aws = Aws::connect(arguments.target.region.clone()).await?;
    let identity = aws.identity().await?;
    let model = endpoint_location(arguments, &aws).await?.unwrap_or(in_function);
    let memory = arguments.memory.unwrap_or_else(|| model.memory());
    let concurrency = arguments.concurrency.unwrap_or_else(|| model.concurrency());
    let response = arguments.response;
    let plan = Plan { name: arguments.target.name.clone(), model, response, concurrency, memory };

    output::message(&format!(
        "{}\n{}",
        summary(&plan, &package, &format!("account {}, {}", identity.account, aws.region())),
        Estimate::of(&plan, package.architecture)
    ));
    require_confirmation("Deploy this stack?", Confirmation::from_flag(arguments.yes))?;

    let mut watcher = |event: &Event| output::message(&event.to_string());
    let deployed = aws.deploy(&plan, package, &identity, &mut watcher).await;
    let deployed = deployed.with_context(|| cleanup_hint(&arguments.target))?;
    let key = key::create_first(&deployed.bucket, aws.region()).await;
    let key =
        key.with_context(|| format!("deployed at {}, but failed to create the first API key", deployed.url))?;
    if arguments.json {
        print_json(&deployed, key)
    } else {
        print(&deployed, key.as_ref(), &arguments.target)
    }
}

/// Builds the package, and loads its model as the function will. This comes before any request to AWS, so that
/// an error in it is reported at once.
async fn pack(arguments: &Deploy, folder: Option<PathBuf>) -> Result<Package> {
    let program = match &arguments.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("cannot find the running binary; pass --binary PATH")?,
    };
    let settings = arguments.config.clone();
    let packing = tokio::task::spawn_blocking(move || {
        if let Some(folder) = &folder {
            check_model(folder)?;
        }
        Ok(Package::build(&program, folder.as_deref(), settings.as_deref())?)
    });
    packing.await?
}

/// Checks that the function can load the model, by loading it here. A model that is too large for Lambda is not
/// loaded: [`Package::build`] rejects it.
fn check_model(folder: &Path) -> Result<()> {
    ModelFiles::folder(folder)?;
    if model_size(folder)? <= MAX_UNZIPPED_BYTES { engine::check_folder(folder) } else { Ok(()) }
}

/// The model's folder; none for the built-in model or an endpoint.
///
/// # Errors
/// [`UsageError`] for a text that can be no folder, by the rules of the setting `model`.
fn model_folder(arguments: &Deploy) -> Result<Option<PathBuf>> {
    let Some(text) = &arguments.model else { return Ok(None) };
    match ModelChoice::parse(text) {
        Ok(ModelChoice::Builtin) => Ok(None),
        // A path to a file is passed on, because the engine says what the file is.
        Ok(ModelChoice::Folder(folder)) => Ok(Some(folder)),
        Ok(ModelChoice::Endpoint(name)) => {
            let message = format!("for a SageMaker endpoint, pass `--endpoint {name}` instead of `--model`");
            Err(UsageError(message).into())
        }
        Ok(ModelChoice::Hub(_)) | Err(_) => {
            let expected = "`--model` must be `builtin` or an existing folder in the diffusers layout";
            Err(UsageError(format!("{expected}, and there is no `{text}`")).into())
        }
    }
}

/// The endpoint with the model; none if the model is in the function.
async fn endpoint_location(arguments: &Deploy, aws: &Aws) -> Result<Option<ModelLocation>> {
    if let (Some(image), Some(instance)) = (&arguments.image, &arguments.instance_type) {
        return Ok(Some(ModelLocation::NewEndpoint {
            image: image.clone(),
            data: arguments.model_data.clone(),
            instance: instance.clone(),
            asynchronous: arguments.asynchronous,
        }));
    }
    let Some(name) = &arguments.endpoint else { return Ok(None) };
    let Some(endpoint) = aws.endpoint(name).await? else {
        bail!("no SageMaker endpoint {name} in {}; check the name and --region", aws.region());
    };
    if !endpoint.in_service() {
        bail!("the SageMaker endpoint {name} has the status {}; it must be InService", endpoint.status);
    }
    Ok(Some(ModelLocation::ExistingEndpoint { name: endpoint.name, outputs: endpoint.outputs }))
}

fn summary(plan: &Plan, package: &Package, place: &str) -> String {
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let model = match &plan.model {
        ModelLocation::InFunction { folder: false } => "with the built-in model".to_owned(),
        ModelLocation::InFunction { folder: true } => "with the model of the folder".to_owned(),
        ModelLocation::ExistingEndpoint { name, outputs: None } => {
            format!("with the SageMaker endpoint {name}")
        }
        ModelLocation::ExistingEndpoint { name, outputs: Some(_) } => {
            format!("with the asynchronous SageMaker endpoint {name}")
        }
        ModelLocation::NewEndpoint { instance, asynchronous: false, .. } => {
            format!("with a new SageMaker endpoint on {instance}")
        }
        ModelLocation::NewEndpoint { instance, asynchronous: true, .. } => {
            format!("with a new asynchronous SageMaker endpoint on {instance}")
        }
    };
    format!(
        "Stack {} ({place}): a Lambda function with {} MB of memory, {} ({} MB of code, {} MB zipped), \
         {model}.",
        plan.name,
        plan.memory,
        package.architecture,
        megabytes(package.unzipped),
        megabytes(package.zip.len() as u64),
    )
}

fn cleanup_hint(target: &Target) -> String {
    format!("failed to deploy; `{}` removes what was created", command_line("destroy", target))
}

fn command_line(name: &str, target: &Target) -> String {
    let region = target.region.as_ref().map(|region| format!(" --region {region}")).unwrap_or_default();
    format!("tintype {name} --name {}{region}", target.name)
}

fn print_json(deployed: &Deployed, key: Option<Secret>) -> Result<()> {
    output::json(&json!({
        "url": deployed.url,
        "key": key.map(|key| key.expose().to_owned()),
        "bucket": deployed.bucket,
        "function": deployed.function,
        "changed": deployed.changed,
    }))
}

fn print(deployed: &Deployed, key: Option<&Secret>, target: &Target) -> Result<()> {
    let Deployed { url, bucket, changed, .. } = deployed;
    output::line(&format!("url     {url}"))?;
    output::line(&format!("bucket  {bucket}"))?;
    if let Some(key) = key {
        output::line(&format!("key     {}", key.expose()))?;
        output::message("Save the key: it cannot be shown again.");
    }
    if !changed {
        output::message("The stack was already up to date.");
    }
    output::message(&format!(
        "\n  curl -H 'Authorization: Bearer KEY' '{url}/generate?prompt=a+tiger'\n  \
         tintype keys create --name NAME --ledger bucket --store s3://{bucket}\n  {}",
        command_line("destroy", target)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(words: &[&str]) -> Deploy {
        match Cli::try_parse_from(["tintype", "deploy"].iter().chain(words)).expect("valid").command {
            Command::Deploy(deploy) => deploy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_path_is_a_folder() {
        let folder = |words: &[&str]| model_folder(&arguments(words));
        assert_eq!(folder(&["--model", "builtin"]).expect("valid"), None);
        assert_eq!(folder(&["--model", "./m"]).expect("valid"), Some("./m".into()));
        assert_eq!(folder(&["--endpoint", "e"]).expect("valid"), None);
        for (model, expected) in [
            ("sagemaker:e", "--endpoint e"),
            ("stabilityai/sd-turbo", "there is no `stabilityai/sd-turbo`"),
            ("models/absent.safetensors", "there is no `models/absent.safetensors`"),
        ] {
            let error = folder(&["--model", model]).expect_err("no folder");
            assert!(error.is::<UsageError>() && error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_cleanup_hint_names_the_same_stack() {
        let target = arguments(&["--model", "builtin", "--name", "pics", "--region", "eu-west-1"]).target;
        assert!(cleanup_hint(&target).contains("`tintype destroy --name pics --region eu-west-1`"));
    }
}
