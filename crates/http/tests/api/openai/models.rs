//! `/v1/models`.

use serde_json::json;

use super::{api_error, assert_error};
use crate::TestServer;

#[tokio::test]
async fn the_model_and_its_aliases_are_found() {
    let server = TestServer::new();
    let list = server.get("/v1/models").await.json();
    assert_eq!((&list["object"], list["data"].as_array().map(Vec::len)), (&json!("list"), Some(3)));
    let own = server.get("/v1/models/null").await.json();
    assert_eq!(list["data"][0], own);
    assert_eq!(
        (&own["id"], &own["object"], &own["owned_by"]),
        (&json!("null"), &json!("model"), &json!("tintype"))
    );
    assert!(own["created"].as_i64().is_some_and(|at| at > 1_700_000_000), "{own}");
    assert!(own.get("alias_of").is_none(), "{own}");
    for (item, id) in [(&list["data"][1], "gpt-image-*"), (&list["data"][2], "dall-e-*")] {
        assert_eq!((&item["id"], &item["alias_of"]), (&json!(id), &json!("null")));
        // A client may use any name of the list.
        assert_eq!(server.get(&format!("/v1/models/{id}")).await.json(), *item);
        let generated = super::generate(&server, json!({"prompt": "x", "model": id})).await;
        assert_eq!(generated.status(), 200, "{}", generated.text);
    }
    let alias = server.get("/v1/models/dall-e-3").await.json();
    assert_eq!((&alias["id"], &alias["alias_of"]), (&json!("dall-e-3"), &json!("null")));
    let unknown = server.get("/v1/models/gpt-5").await;
    let error = assert_error(&unknown, api_error(404, "invalid_request_error", Some("model_not_found")));
    assert_eq!(error["param"], "model");
    let invalid = server.get("/v1/models/%ff").await;
    assert_error(&invalid, api_error(404, "invalid_request_error", Some("not_found")));
    let generated = super::generate(&server, json!({"prompt": "x", "model": "gpt-5"})).await;
    assert_error(&generated, api_error(404, "invalid_request_error", Some("model_not_found")));
    assert_eq!(server.engine.started(), 2);
}

#[tokio::test]
async fn names_can_have_slashes() {
    let server = TestServer::with_aliases(&["org/model", "open-*"]);
    let list = server.get("/v1/models").await.json();
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["null", "org/model", "open-*"]);
    for path in ["/v1/models/org/model", "/v1/models/org%2Fmodel", "/v1/models/open-anything"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(server.get("/v1/models/dall-e-3").await.status(), 404);
}
