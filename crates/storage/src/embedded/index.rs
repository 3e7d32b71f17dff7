//! Listings: which keys there are, in the byte order that S3 promises.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Bytes of content.
    pub(crate) size: u64,
    /// Without its quotes.
    pub(crate) etag: String,
    /// Seconds since 1970.
    pub(crate) modified: i64,
}

/// All objects of a bucket. Strings compare by their bytes, as S3's keys do.
pub(crate) type Index = BTreeMap<String, Entry>;

/// Which part of the keys is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Keys that have it after the prefix are listed as one group, up to and including it.
    pub(crate) delimiter: Option<&'a str>,
    /// Only what comes after this key or group.
    pub(crate) after: Option<&'a str>,
    /// Most keys and groups in the answer.
    pub(crate) limit: usize,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Entry)>,
    pub(crate) groups: Vec<String>,
    /// The page's last key or group, if there is more after it.
    pub(crate) next: Option<String>,
}

/// Collects one page.
pub(crate) fn page(index: &Index, query: Query<'_>) -> Page {
    let Query { prefix, delimiter, after, limit } = query;
    let mut page = Page::default();
    if limit == 0 {
        return page;
    }
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut last: Option<&str> = None;
    let from_start = index.range::<str, _>((start, Bound::Unbounded));
    for (key, entry) in from_start.take_while(|(key, _)| key.starts_with(prefix)) {
        let group = delimiter.and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter)?;
            Some(&key[..prefix.len() + at + delimiter.len()])
        });
        if group.is_some() && (group == after || group == last) {
            continue;
        }
        if page.objects.len() + page.groups.len() == limit {
            page.next = last.map(str::to_owned);
            break;
        }
        match group {
            Some(group) => page.groups.push(group.to_owned()),
            None => page.objects.push((key.clone(), entry.clone())),
        }
        last = Some(group.unwrap_or(key));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: &[&str]) -> Index {
        let entry = Entry { size: 1, etag: String::new(), modified: 0 };
        keys.iter().map(|key| ((*key).to_owned(), entry.clone())).collect()
    }

    fn names(page: &Page) -> (Vec<&str>, Vec<&str>) {
        let keys = page.objects.iter().map(|(key, _)| key.as_str()).collect();
        (keys, page.groups.iter().map(String::as_str).collect())
    }

    /// Walks all pages of a listing.
    fn walk(index: &Index, query: Query<'_>) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), query.after.map(str::to_owned));
        loop {
            let page = page(index, Query { after: after.as_deref(), ..query });
            assert!(page.objects.len() + page.groups.len() <= query.limit);
            found.extend(page.objects.into_iter().map(|(key, _)| key));
            found.extend(page.groups);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        found.sort();
        found
    }

    #[test]
    fn prefix_and_order_are_by_bytes() {
        let index = index(&["b", "a/2", "a/10", "A", "a", "猫", "é"]);
        let all = page(&index, Query { limit: 1_000, ..Query::default() });
        assert_eq!(names(&all).0, ["A", "a", "a/10", "a/2", "b", "é", "猫"]);
        let some = page(&index, Query { prefix: "a/", limit: 1_000, ..Query::default() });
        assert_eq!((names(&some).0, &some.next), (vec!["a/10", "a/2"], &None));
    }

    #[test]
    fn groups_by_delimiter() {
        let index = index(&["a", "a//b", "p/x/1", "p/x/2", "p/y", "p/z/1", "q"]);
        let query = Query { prefix: "p/", delimiter: Some("/"), limit: 1_000, ..Query::default() };
        let found = page(&index, query);
        assert_eq!(names(&found), (vec!["p/y"], vec!["p/x/", "p/z/"]));
        let top = page(&index, Query { delimiter: Some("/"), limit: 1_000, ..Query::default() });
        assert_eq!(names(&top), (vec!["a", "q"], vec!["a/", "p/"]));
        let longer = page(&index, Query { delimiter: Some("x/"), limit: 1_000, ..Query::default() });
        assert_eq!(names(&longer).1, ["p/x/"]);
    }

    #[test]
    fn pages_miss_and_repeat_nothing() {
        let index = index(&["a", "b/1", "b/2", "b/3", "c", "d/1", "d/2", "e"]);
        for limit in 1..9 {
            let grouped = Query { delimiter: Some("/"), limit, ..Query::default() };
            assert_eq!(walk(&index, grouped), ["a", "b/", "c", "d/", "e"], "{limit}");
            assert_eq!(walk(&index, Query { limit, ..Query::default() }).len(), 8, "{limit}");
        }
        let exactly = page(&index, Query { limit: 8, ..Query::default() });
        assert_eq!(exactly.next, None);
        assert_eq!(page(&index, Query::default()), Page::default());
    }

    #[test]
    fn starts_after_a_key_that_need_not_exist() {
        let index = index(&["a", "b", "c"]);
        let found = page(&index, Query { after: Some("aa"), limit: 9, ..Query::default() });
        assert_eq!(names(&found).0, ["b", "c"]);
        let past = page(&index, Query { prefix: "a", after: Some("zzz"), limit: 9, ..Query::default() });
        assert_eq!(past, Page::default());
    }
}
