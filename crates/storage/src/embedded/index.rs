//! Listings of a bucket's keys, in byte order as S3 guarantees.

use std::collections::BTreeMap;
use std::ops::Bound;

/// An object's entry in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Content length in bytes.
    pub(crate) size: u64,
    /// ETag without quotes.
    pub(crate) etag: String,
    /// Time of the last write, in seconds since 1970.
    pub(crate) modified: i64,
}

/// All objects of a bucket. Strings compare by bytes, like S3's keys.
pub(crate) type Index = BTreeMap<String, Entry>;

/// The keys to list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListQuery<'a> {
    pub(crate) prefix: &'a str,
    /// Keys with this delimiter after the prefix are listed as one common prefix, up to and including the
    /// delimiter.
    pub(crate) delimiter: Option<&'a str>,
    /// List only what follows this key or common prefix.
    pub(crate) after: Option<&'a str>,
    /// Maximum number of keys and common prefixes.
    pub(crate) limit: usize,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Entry)>,
    pub(crate) common_prefixes: Vec<String>,
    /// The page's last key or common prefix, if more follow.
    pub(crate) next: Option<String>,
}

/// Lists one page.
pub(crate) fn page(index: &Index, query: ListQuery<'_>) -> Page {
    let ListQuery { prefix, delimiter, after, limit } = query;
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
        let common_prefix = delimiter.and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter)?;
            Some(&key[..prefix.len() + at + delimiter.len()])
        });
        if common_prefix.is_some() && (common_prefix == after || common_prefix == last) {
            continue;
        }
        if page.objects.len() + page.common_prefixes.len() == limit {
            page.next = last.map(str::to_owned);
            break;
        }
        match common_prefix {
            Some(common_prefix) => page.common_prefixes.push(common_prefix.to_owned()),
            None => page.objects.push((key.clone(), entry.clone())),
        }
        last = Some(common_prefix.unwrap_or(key));
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
        (keys, page.common_prefixes.iter().map(String::as_str).collect())
    }

    /// Walks all pages of a listing.
    fn walk(index: &Index, query: ListQuery<'_>) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), query.after.map(str::to_owned));
        loop {
            let page = page(index, ListQuery { after: after.as_deref(), ..query });
            assert!(page.objects.len() + page.common_prefixes.len() <= query.limit);
            found.extend(page.objects.into_iter().map(|(key, _)| key));
            found.extend(page.common_prefixes);
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
        let all = page(&index, ListQuery { limit: 1_000, ..ListQuery::default() });
        assert_eq!(names(&all).0, ["A", "a", "a/10", "a/2", "b", "é", "猫"]);
        let some = page(&index, ListQuery { prefix: "a/", limit: 1_000, ..ListQuery::default() });
        assert_eq!((names(&some).0, &some.next), (vec!["a/10", "a/2"], &None));
    }

    #[test]
    fn common_prefixes_by_delimiter() {
        let index = index(&["a", "a//b", "p/x/1", "p/x/2", "p/y", "p/z/1", "q"]);
        let query = ListQuery { prefix: "p/", delimiter: Some("/"), limit: 1_000, ..ListQuery::default() };
        let found = page(&index, query);
        assert_eq!(names(&found), (vec!["p/y"], vec!["p/x/", "p/z/"]));
        let top = page(&index, ListQuery { delimiter: Some("/"), limit: 1_000, ..ListQuery::default() });
        assert_eq!(names(&top), (vec!["a", "q"], vec!["a/", "p/"]));
        let longer = page(&index, ListQuery { delimiter: Some("x/"), limit: 1_000, ..ListQuery::default() });
        assert_eq!(names(&longer).1, ["p/x/"]);
    }

    #[test]
    fn pages_are_complete_and_disjoint() {
        let index = index(&["a", "b/1", "b/2", "b/3", "c", "d/1", "d/2", "e"]);
        for limit in 1..9 {
            let grouped = ListQuery { delimiter: Some("/"), limit, ..ListQuery::default() };
            assert_eq!(walk(&index, grouped), ["a", "b/", "c", "d/", "e"], "{limit}");
            assert_eq!(walk(&index, ListQuery { limit, ..ListQuery::default() }).len(), 8, "{limit}");
        }
        let exactly = page(&index, ListQuery { limit: 8, ..ListQuery::default() });
        assert_eq!(exactly.next, None);
        assert_eq!(page(&index, ListQuery::default()), Page::default());
    }

    #[test]
    fn starts_after_a_key_that_need_not_exist() {
        let index = index(&["a", "b", "c"]);
        let found = page(&index, ListQuery { after: Some("aa"), limit: 9, ..ListQuery::default() });
        assert_eq!(names(&found).0, ["b", "c"]);
        let past =
            page(&index, ListQuery { prefix: "a", after: Some("zzz"), limit: 9, ..ListQuery::default() });
        assert_eq!(past, Page::default());
    }
}
