//! `/v1/images`: jobs and their images.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_core::store::ObjectStore;
use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use crate::{ORIGIN, SECOND, TestResponse, TestServer};

fn slow() -> TestServer {
    TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

/// Submits a job without waiting, and returns its path.
async fn start(server: &TestServer, body: Value) -> String {
    let response = server.post(&body, &[("prefer", "respond-async")]).await;
    assert_eq!(response.status(), 202, "{}", response.text);
    response.header("location").expect("a path").to_owned()
}

fn names(body: &Value) -> Vec<&str> {
    body.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_job_has_its_members_in_this_order() {
    let server = TestServer::new();
    let response = server.post(&json!({"prompt": "a tiger", "seed": 7, "n": 2, "format": "png"}), &[]).await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (201, Some("application/json"))
    );
    let body = response.json();
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    let [id, created_at, started_at, finished_at, expires_at] =
        ["id", "created_at", "started_at", "finished_at", "expires_at"].map(text);
    let [first, second] = [0, 1].map(|i| body["images"][i]["url"].as_str().expect("text").to_owned());
    let link =
        |url: &str, seed| format!(r#"{{"url":"{url}","seed":{seed},"width":64,"height":64,"format":"png"}}"#);
    let expected = format!(
        r#"{{"id":"{id}","status":"succeeded","prompt":"a tiger","width":64,"height":64,"steps":4,"guidance":1.0,"seed":7,"n":2,"format":"png","model":"null","created_at":"{created_at}","started_at":"{started_at}","finished_at":"{finished_at}","images":[{},{}],"expires_at":"{expires_at}","cost":{{"engine_seconds":0.0}},"warnings":[]}}"#,
        link(&first, 7),
        link(&second, 8)
    );
    assert_eq!(response.text, expected);
    assert_eq!(response.header("location"), Some(&*format!("/v1/images/{id}")));
    let times = [&created_at, &started_at, &finished_at].map(|text| {
        assert!(text.ends_with('Z') && text.len() <= "2026-11-23T08:00:00.123Z".len(), "{text}");
        OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339")
    });
    assert!(times.is_sorted());
    assert_ne!(first, second);

    // GET returns the same members.
    let again = server.get(&format!("/v1/images/{id}")).await;
    assert_eq!((names(&again.json()), again.header("retry-after")), (names(&body), None));
}

#[tokio::test(start_paused = true)]
async fn a_job_reports_its_progress() {
    let server = slow();
    let running = start(&server, json!({"prompt": "x", "negative_prompt": "y", "deadline": 3_600})).await;
    let waiting = start(&server, json!({"prompt": "y"})).await;
    sleep(SECOND * 5 / 2).await;
    let response = server.get(&running).await;
    assert_eq!(response.header("retry-after"), Some("2"));
    let body = response.json();
    assert_eq!((&body["status"], &body["negative_prompt"]), (&json!("running"), &json!("y")));
    assert_eq!(body["progress"], json!({"step": 2, "steps": 4}));
    let [created, deadline] = ["created_at", "deadline"]
        .map(|name| OffsetDateTime::parse(body[name].as_str().expect("text"), &Rfc3339).expect("RFC 3339"));
    assert!((3_590..=3_600).contains(&(deadline - created).whole_seconds()), "{body}");
    for name in ["finished_at", "position", "expires_at", "cost", "error"] {
        assert!(!names(&body).contains(&name), "{name} of {body}");
    }
    let body = server.get(&waiting).await.json();
    assert_eq!((&body["status"], &body["position"]), (&json!("queued"), &json!(0)));
    assert!(!names(&body).contains(&"started_at"), "{body}");
    assert_eq!(body["images"], json!([]));

    sleep(SECOND * 6).await;
    let body = server.get(&waiting).await.json();
    assert_eq!((&body["status"], &body["images"][0]["width"]), (&json!("succeeded"), &json!(64)));
    assert!(!names(&body).contains(&"position"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_has_a_reason() {
    let server =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::Error));
    let path = start(&server, json!({"prompt": "x"})).await;
    sleep(SECOND * 5).await;
    let response = server.get(&path).await;
    let body = response.json();
    assert_eq!((response.status().as_u16(), &body["status"]), (200, &json!("failed")));
    assert_eq!(body["error"]["reason"], "engine");
    assert!(
        body["error"]["detail"].as_str().is_some_and(|detail| detail.contains("engine failed")),
        "{body}"
    );
    assert!(!response.text.contains("secret"), "{body}");
}

#[tokio::test]
async fn links_have_the_requested_lifetime() {
    let server = TestServer::new();
    let made = server.post(&json!({"prompt": "x", "expires_in": 60}), &[]).await;
    let url =
        |response: &TestResponse| response.json()["images"][0]["url"].as_str().expect("text").to_owned();
    assert!(url(&made).ends_with("?expires_in=60"), "{}", url(&made));
    let path = made.header("location").expect("a path");
    for (query, seconds) in [("", 300), ("?expires_in=1", 1), ("?expires_in=604800", 604_800)] {
        let response = server.get(&format!("{path}{query}")).await;
        assert!(url(&response).ends_with(&format!("?expires_in={seconds}")), "{query}");
        let until = OffsetDateTime::parse(response.json()["expires_at"].as_str().expect("text"), &Rfc3339);
        let life = (until.expect("RFC 3339") - OffsetDateTime::now_utc()).whole_seconds();
        assert!((seconds - 3..=seconds).contains(&life), "{life} of {seconds}");
    }
    for query in
        ["expires_in=0", "expires_in=604801", "expires_in=x", "expires=1", "expires_in=1&expires_in=2"]
    {
        let problem = server.get(&format!("{path}?{query}")).await.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{query}");
    }
}

#[tokio::test]
async fn the_same_seed_again_is_answered_from_the_store() {
    let server = TestServer::new();
    let first = server.get("/generate?prompt=x&seed=7").await.json();
    let again = server.get("/generate?prompt=x&seed=7").await.json();
    assert_eq!((&again["cache"], &again["id"]), (&json!("hit"), &first["id"]));
    assert_eq!(again["cost"], json!({"engine_seconds": 0.0}));
    let posted = server.post(&json!({"prompt": "x", "seed": 7}), &[("prefer", "respond-async")]).await;
    assert_eq!((posted.status().as_u16(), &posted.json()["cache"]), (201, &json!("hit")));
    assert_eq!(posted.header("preference-applied"), None);
    assert!(!names(&first).contains(&"cache"), "{first}");
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_cost_is_reported() {
    let settings = ServiceSettings { price: "0.01usd".parse().ok(), ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(SECOND));
    let cost = json!({"engine_seconds": 4.0, "amount": 0.04, "currency": "usd"});
    assert_eq!(server.get("/generate?prompt=x").await.json()["cost"], cost);
    assert_eq!(server.post(&json!({"prompt": "x"}), &[]).await.json()["cost"], cost);
}

#[tokio::test(start_paused = true)]
async fn requests_with_coalesce_share_a_job() {
    let server = slow();
    let ask = "/generate?prompt=x&coalesce=true";
    let body = json!({"prompt": "x", "coalesce": true});
    let (first, second, third) = tokio::join!(server.get(ask), server.get(ask), server.post(&body, &[]));
    let (first, second, third) = (first.json(), second.json(), third.json());
    assert_eq!((&first["id"], &first["id"], server.engine.started()), (&second["id"], &third["id"], 1));
    let mut costs =
        [first, second, third].map(|body| body["cost"]["engine_seconds"].as_f64().expect("a number"));
    costs.sort_by(f64::total_cmp);
    assert_eq!(costs, [0.0, 0.0, 4.0]);
}

#[tokio::test]
async fn lists_have_pages() {
    let server = TestServer::new();
    let mut ids = Vec::new();
    for i in 0..23 {
        let made = server.get(&format!("/generate?prompt={i}")).await.json();
        ids.insert(0, made["id"].clone());
    }
    let page = async |query: &str| {
        let body = server.get(&format!("/v1/images?{query}")).await.json();
        let data: Vec<_> =
            body["data"].as_array().expect("a list").iter().map(|job| job["id"].clone()).collect();
        (data, body["next_cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page("").await;
    assert_eq!(first, ids[..20]);
    let cursor = cursor.expect("more");
    assert_eq!(page(&format!("cursor={cursor}")).await, (ids[20..].to_vec(), None));
    assert_eq!(page("limit=100").await, (ids.clone(), None));
    let (one, next) = page("limit=1").await;
    assert_eq!(one, ids[..1]);
    let next = next.expect("more");
    assert_eq!(page(&format!("limit=1&cursor={next}")).await.0, ids[1..2]);
    for (query, wrong) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("page=2", "page"),
        ("limit=0&cursor=x", "limit cursor"),
    ] {
        let problem = server.get(&format!("/v1/images?{query}")).await.assert_problem(400, "invalid-request");
        let named: Vec<_> =
            problem["errors"].as_array().expect("a list").iter().map(|e| &e["parameter"]).collect();
        assert_eq!(json!(named), json!(wrong.split(' ').collect::<Vec<_>>()), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn content_redirects_to_the_image() {
    let server = slow();
    let path = start(&server, json!({"prompt": "x", "n": 2})).await;
    let early = server.get(&format!("{path}/content")).await;
    assert_eq!(early.assert_problem(409, "no-pictures")["instance"], path);
    assert_eq!(early.header("retry-after"), Some("2"));
    sleep(SECOND * 10).await;

    let images = server.get(&path).await.json()["images"].clone();
    for (query, index) in [("", 0), ("?index=0", 0), ("?index=1", 1)] {
        let response = server.get(&format!("{path}/content{query}")).await;
        assert_eq!((response.status().as_u16(), response.header("cache-control")), (302, Some("no-store")));
        assert_eq!(response.header("location"), images[index]["url"].as_str());
    }
    server.get(&format!("{path}/content?index=2")).await.assert_problem(404, "not-found");
    for query in ["index=-1", "index=x", "i=1"] {
        server.get(&format!("{path}/content?{query}")).await.assert_problem(400, "invalid-request");
    }

    let never = start(&server, json!({"prompt": "y"})).await;
    server.send("POST", &format!("{never}/cancel"), &[]).await;
    sleep(SECOND * 2).await;
    let response = server.get(&format!("{never}/content")).await;
    response.assert_problem(409, "no-pictures");
    assert_eq!(response.header("retry-after"), None);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_canceled() {
    let server = slow();
    let running = start(&server, json!({"prompt": "x"})).await;
    let waiting = start(&server, json!({"prompt": "y"})).await;
    sleep(SECOND / 2).await;
    let response = server.send("POST", &format!("{waiting}/cancel"), &[]).await;
    assert_eq!((response.status().as_u16(), &response.json()["status"]), (200, &json!("canceled")));
    let response = server.send("POST", &format!("{running}/cancel"), &[]).await;
    assert_eq!(response.status(), 200);
    sleep(SECOND * 2).await;
    assert_eq!(server.get(&running).await.json()["status"], "canceled");
    // A job that has ended is not changed.
    let done = start(&server, json!({"prompt": "z"})).await;
    sleep(SECOND * 5).await;
    let response = server.send("POST", &format!("{done}/cancel"), &[]).await;
    assert_eq!((response.status().as_u16(), &response.json()["status"]), (200, &json!("succeeded")));
    assert_eq!((server.engine.started(), server.engine.finished()), (2, 1));
}

#[tokio::test]
async fn jobs_are_deleted() {
    let server = TestServer::new();
    let path =
        server.post(&json!({"prompt": "x", "n": 3}), &[]).await.header("location").expect("one").to_owned();
    let pictures = async || server.store.list("images/", None, 10).await.expect("list").objects.len();
    assert_eq!(pictures().await, 3);
    let response = server.send("DELETE", &path, &[]).await;
    assert_eq!((response.status().as_u16(), response.text.as_str()), (204, ""));
    assert_eq!(pictures().await, 0);
    for (method, rest) in
        [("GET", ""), ("GET", "/content"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]
    {
        server.send(method, &format!("{path}{rest}"), &[]).await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn invalid_ids_are_not_found() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    for id in
        ["x", "1", "019aaf60-ac00-7000-8000-00000000000g", "%2e%2e", "019aaf60-ac00-7000-8000-000000000000"]
    {
        for (method, rest) in
            [("GET", ""), ("GET", "/content"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]
        {
            let response = server.send(method, &format!("/v1/images/{id}{rest}"), &[]).await;
            response.assert_problem(404, "not-found");
        }
    }
}

#[tokio::test]
async fn a_link_that_expires_early_is_replaced_by_a_link_to_the_api() {
    let server = TestServer::new();
    server.store.limit_url_lifetime(SECOND * 3_600);
    let short = server.get("/generate?prompt=x&expires_in=600").await.json();
    assert!(short["url"].as_str().is_some_and(|url| url.starts_with("memory:")), "{short}");
    let long = server.get("/generate?prompt=x&expires_in=7200").await.json();
    let id = long["id"].as_str().expect("an id");
    assert_eq!(long["url"], format!("{ORIGIN}/v1/images/{id}/content?index=0"));
    let resource = server.get(&format!("/v1/images/{id}?expires_in=7200")).await.json();
    assert_eq!(resource["images"][0]["url"], long["url"]);
    let content = server.get(&format!("/v1/images/{id}/content?index=0")).await;
    assert_eq!(content.status().as_u16(), 302);
    assert!(content.header("location").is_some_and(|location| location.starts_with("memory:images/")));
}
