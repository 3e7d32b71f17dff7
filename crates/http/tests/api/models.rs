//! A server with two models.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tintype_core::engine::{Engine, EngineInfo};
use tintype_http::{HostPolicy, router};
use tintype_ledger::policy::Policy;
use tintype_service::{
    EngineLoader, LoadError, LoadTime, ModelSettings, ModelSpec, Readiness, Service, ServiceSettings,
};
use tintype_testing::NullEngine;
use tokio::time::sleep;

use crate::{TestServer, settings_for};

struct Loader(&'static str);

impl Loader {
    fn engine(&self) -> NullEngine {
        NullEngine::new(Duration::ZERO).with_name(self.0)
    }
}

impl EngineLoader for Loader {
    fn plan(&self) -> Result<Option<EngineInfo>, LoadError> {
        Ok(Some(self.engine().info().clone()))
    }

    fn load(&self) -> Result<Arc<dyn Engine>, LoadError> {
        Ok(Arc::new(self.engine()))
    }
}

fn spec(name: &'static str, price: Option<&str>, load: LoadTime) -> ModelSpec {
    let settings = ModelSettings {
        name: name.into(),
        aliases: vec![format!("{name}-*").parse().expect("an alias")],
        price: price.map(|price| price.parse().expect("a price")),
        ..ModelSettings::default()
    };
    ModelSpec { settings, loader: Some(Arc::new(Loader(name))), load }
}

/// A server with the default model `small`, and `org/large`, which is loaded on demand.
async fn two_models() -> TestServer {
    let mut server = TestServer::new();
    let models = vec![
        spec("small", None, LoadTime::AtStart),
        spec("org/large", Some("0.02usd/image"), LoadTime::OnDemand),
    ];
    server.service =
        Service::with_models(ServiceSettings::default(), models, server.store.clone(), server.ledger.clone());
    drop(server.service.start_loading());
    while server.service.models().len() < 2 || server.service.readiness() != Readiness::Ready {
        sleep(Duration::from_millis(1)).await;
    }
    server.router = router(server.service.clone(), settings_for(HostPolicy::Any));
    server
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().expect("a list").iter().map(|model| model["id"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn a_request_names_its_model() {
    let server = two_models().await;
    for (model, name) in [
        (None, "small"),
        (Some("small"), "small"),
        (Some("org/large"), "org/large"),
        (Some("org/large-2"), "org/large"),
    ] {
        let mut body = json!({"prompt": "x"});
        if let Some(model) = model {
            body["model"] = json!(model);
        }
        let posted = server.send_json("/v1/images", &body, &[]).await;
        assert_eq!(posted.status(), 201, "{}", posted.text);
        assert_eq!(posted.json()["model"], name);
        let query = model.map(|model| format!("&model={model}")).unwrap_or_default();
        let generated = server.get(&format!("/generate?prompt=x{query}")).await;
        assert_eq!(generated.status(), 200, "{}", generated.text);
        assert_eq!(server.get("/v1/images?limit=1").await.json()["data"][0]["model"], name);
    }
}

#[tokio::test]
async fn an_unknown_model_is_refused_with_the_names_of_the_models() {
    let server = two_models().await;
    for model in ["large", "org/large2", "SMALL", "*"] {
        let refused = server.send_json("/v1/images", &json!({"prompt": "x", "model": model}), &[]).await;
        let problem = refused.assert_problem(400, "invalid-request");
        let expected = "must be one of small, org/large, or an alias that `GET /v1/models` lists";
        assert_eq!(problem["errors"], json!([{"parameter": "model", "detail": expected}]), "{model}");
    }
}

#[tokio::test]
async fn the_list_describes_each_model() {
    let server = two_models().await;
    let list = server.get("/v1/models").await.json();
    assert_eq!(ids(&list), ["small", "small-*", "org/large", "org/large-*"]);
    let [small, _, large, alias] = [0, 1, 2, 3].map(|index| list["data"][index].clone());
    assert_eq!((&small["default"], &small["state"]), (&json!(true), &json!("loaded")));
    assert!(small.get("price").is_none(), "{small}");
    assert_eq!((&large["default"], &large["state"]), (&json!(false), &json!("unloaded")));
    assert_eq!((&large["price"], &alias["alias_of"]), (&json!("0.02usd/image"), &json!("org/large")));
    for member in ["default", "state", "defaults", "limits", "parameters"] {
        assert!(alias.get(member).is_none(), "{member}");
    }
    // The schema has the limits and the defaults that the server applies.
    let (limits, defaults) = (&small["limits"], &small["defaults"]);
    let properties = &small["parameters"]["properties"];
    for (property, multiple) in [("width", true), ("height", true), ("steps", false)] {
        assert_eq!(properties[property]["default"], defaults[property], "{property}");
        assert_eq!(properties[property].get("multipleOf").is_some(), multiple, "{property}");
    }
    assert_eq!(properties["steps"]["maximum"], limits["max_steps"]);
    assert_eq!(properties["width"]["multipleOf"], limits["size_multiple"]);
    assert_eq!(server.get("/v1/models/org%2Flarge").await.json(), large);
    assert_eq!(server.get("/v1/models/org%2Flarge-*").await.json(), alias);
    // A request loads the model.
    let made = server.send_json("/v1/images", &json!({"prompt": "x", "model": "org/large"}), &[]).await;
    assert_eq!(made.status(), 201, "{}", made.text);
    assert_eq!(server.get("/v1/models/org%2Flarge").await.json()["state"], "loaded");
}

#[tokio::test]
async fn a_limited_key_sees_its_models_only() {
    let server = two_models().await;
    let (name, value) = server.key(Policy { models: vec!["org/large".into()], ..Policy::default() }).await;
    let key = [(name, value.as_str())];
    let list = server.send("GET", "/v1/models", &key).await.json();
    assert_eq!(ids(&list), ["org/large", "org/large-*"]);
    for hidden in ["small", "small-2"] {
        let read = server.send("GET", &format!("/v1/models/{hidden}"), &key).await;
        assert_eq!((read.status().as_u16(), &read.json()["error"]["code"]), (404, &json!("model_not_found")));
        let generated = json!({"prompt": "x", "model": hidden});
        let refused = server.send_json("/v1/images/generations", &generated, &key).await;
        assert_eq!(refused.status(), 403, "{}", refused.text);
        assert_eq!(refused.json()["error"]["param"], "model");
    }
    // The default model is not one of the key's.
    let refused = server.send_json("/v1/images", &json!({"prompt": "x"}), &key).await;
    assert_eq!(refused.status(), 403, "{}", refused.text);
    refused.assert_problem(403, "model-not-allowed");
    // An error names only the models of the key.
    let unknown = server.send_json("/v1/images", &json!({"prompt": "x", "model": "larg"}), &key).await;
    let problem = unknown.assert_problem(400, "invalid-request");
    let expected = "must be one of org/large, or an alias that `GET /v1/models` lists";
    assert_eq!(problem["errors"][0]["detail"], expected);
    let made = server.send_json("/v1/images", &json!({"prompt": "x", "model": "org/large"}), &key).await;
    assert_eq!(made.status(), 201, "{}", made.text);
}

#[tokio::test]
async fn usage_and_metrics_tell_the_models_apart() {
    let server = two_models().await;
    let (name, value) = server.key(Policy::default()).await;
    let key = [(name, value.as_str())];
    for (model, n) in [("small", 1), ("org/large", 2)] {
        let made = json!({"prompt": "x", "model": model, "n": n});
        assert_eq!(server.send_json("/v1/images", &made, &key).await.status(), 201);
    }
    let usage = server.send("GET", "/v1/usage", &key).await.json();
    let models = usage["data"][0]["models"].as_array().expect("a list");
    let counts: Vec<_> = models.iter().map(|usage| json!([usage["model"], usage["pictures"]])).collect();
    assert_eq!(counts, [json!(["org/large", 2]), json!(["small", 1])], "{usage}");
    let metrics = server.get("/metrics").await.text;
    for model in ["small", "org/large"] {
        assert!(metrics.contains(&format!("tintype_jobs_queued{{model=\"{model}\"}} 0")), "{metrics}");
    }
}

#[tokio::test]
async fn an_admin_limits_a_key_to_models() {
    let server = two_models().await;
    let (name, admin) = server.admin_key().await;
    let auth = [(name, admin.as_str())];
    let body = json!({"name": "acme", "models": ["small"]});
    let made = server.send_json("/v1/keys", &body, &auth).await;
    assert_eq!((made.status().as_u16(), &made.json()["models"]), (201, &json!(["small"])), "{}", made.text);
    for models in [json!(["smal"]), json!([""]), json!("small"), json!([1])] {
        let refused = server.send_json("/v1/keys", &json!({"name": "acme", "models": models}), &auth).await;
        let problem = refused.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], "models", "{models}");
    }
}
