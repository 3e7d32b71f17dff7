//! API keys: creation, authentication, revocation.

use super::{at, new_key, owner};
use tintype_ledger::Ledger;
use tintype_ledger::key::{ApiKey, Authentication, NewKey};

pub(super) async fn contract(ledger: &dyn Ledger) {
    assert_eq!(ledger.keys().await.expect("list"), []);
    let (key, record) = ledger.create_key(new_key("Acme, Inc."), at(0)).await.expect("create");
    assert_eq!((record.name.as_str(), record.created, record.admin), ("Acme, Inc.", at(0), false));
    assert_eq!(record.owner.as_str(), record.id.as_str(), "a new owner of its own");
    let (other, other_record) = ledger
        .create_key(
            NewKey { owner: Some(owner("acme")), admin: true, expires: Some(at(100)), ..new_key("b") },
            at(1),
        )
        .await
        .expect("create");
    assert_eq!((other_record.owner.as_str(), other_record.admin), ("acme", true));

    let found = ledger.authenticate(&key, at(2)).await.expect("look up");
    assert_eq!(found, Authentication::Valid(record.clone()));
    assert_eq!(ledger.key(&record.id).await.expect("look up"), Some(record.clone()));
    let other_owner = ApiKey::generate().expect("random numbers");
    assert_eq!(ledger.authenticate(&other_owner, at(2)).await.expect("look up"), Authentication::Unknown);
    assert_eq!(ledger.key(&other_owner.hash().id()).await.expect("look up"), None);

    let still = ledger.authenticate(&other, at(99)).await.expect("look up");
    assert!(matches!(still, Authentication::Valid(_)), "{still:?}");
    let expired = ledger.authenticate(&other, at(100)).await.expect("look up");
    assert!(matches!(expired, Authentication::Expired(_)), "{expired:?}");

    let revoked = ledger.revoke_key(&record.id, at(10)).await.expect("revoke").expect("a job");
    assert_eq!(revoked.revoked, Some(at(10)));
    let again = ledger.revoke_key(&record.id, at(20)).await.expect("revoke").expect("a job");
    assert_eq!(again.revoked, Some(at(10)), "the first time counts");
    let gone = ledger.authenticate(&key, at(30)).await.expect("look up");
    assert!(matches!(gone, Authentication::Revoked(_)), "{gone:?}");
    assert_eq!(ledger.revoke_key(&other_owner.hash().id(), at(10)).await.expect("revoke"), None);

    let mut listed: Vec<_> = ledger.keys().await.expect("list").into_iter().map(|key| key.id).collect();
    assert!(listed.is_sorted());
    listed.retain(|id| *id == record.id || *id == other_record.id);
    assert_eq!(listed.len(), 2);
}
