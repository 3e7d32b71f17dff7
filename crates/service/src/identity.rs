//! When two requests are the same request.

use std::time::Duration;

use tintype_core::request::{GenerateRequest, Seed};

/// What a client asked to be made: the checked request without what we drew ourselves and without what concerns the
/// link only. A retry has the same identity as the first try.
#[derive(Debug, PartialEq)]
pub(crate) struct Identity(GenerateRequest);

impl Identity {
    pub(crate) fn of(request: &GenerateRequest) -> Self {
        let mut same = request.clone();
        if let Seed::Drawn(_) = same.seed {
            same.seed = Seed::Drawn(0);
        }
        same.expires_in = Duration::ZERO;
        Self(same)
    }
}

#[cfg(test)]
mod tests {
    use tintype_core::engine::Model;
    use tintype_core::request::{Draft, Limits};

    use super::*;

    fn identity(draft: Draft, fresh_seed: u32) -> Identity {
        let model = Model { name: "test".into(), width: 64, height: 64, steps: 4, guidance: 1.0 };
        let draft = Draft { prompt: Some("x".into()), ..draft };
        Identity::of(&draft.check(&model, &Limits::for_model(&model), fresh_seed).expect("valid"))
    }

    #[test]
    fn a_seed_counts_only_if_the_client_chose_it() {
        let drawn = identity(Draft::default(), 1);
        assert_eq!(drawn, identity(Draft::default(), 2));
        let chosen = |seed| identity(Draft { seed: Some(seed), ..Draft::default() }, 1);
        assert_eq!(chosen(0), chosen(0));
        assert_ne!(chosen(0), chosen(1));
        assert_ne!(chosen(0), drawn);
    }

    #[test]
    fn the_links_life_does_not_count_and_the_rest_does() {
        let first = identity(Draft::default(), 1);
        assert_eq!(first, identity(Draft { expires_in: Some(60), ..Draft::default() }, 1));
        assert_eq!(
            first,
            identity(Draft { width: Some(64), ..Draft::default() }, 1),
            "a default written out"
        );
        assert_ne!(first, identity(Draft { steps: Some(5), ..Draft::default() }, 1));
        assert_ne!(first, identity(Draft { negative_prompt: Some("y".into()), ..Draft::default() }, 1));
    }
}
