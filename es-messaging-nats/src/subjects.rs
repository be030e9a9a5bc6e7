//! Topics as subjects.

/// The subject of a topic; none if the topic is not one that can be published to.
pub(crate) fn subject_of(prefix: &str, topic: &str) -> Option<String> {
    is_topic(topic).then(|| format!("{prefix}.{topic}"))
}

/// The topic of a subject.
pub(crate) fn topic_of<'a>(prefix: &str, subject: &'a str) -> &'a str {
    subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(subject)
}

/// Whether a topic is of words without wildcards.
fn is_topic(topic: &str) -> bool {
    topic.split('.').all(|word| is_word(word) && word != "*" && word != ">" && word != "#")
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && !word.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

/// The filters that together are a subscription's topics, none of which is a part of another; or the topic that is none.
///
/// `#` stands also for no word at all, `>` does not: `order.#` are two filters.
pub(crate) fn filters(prefix: &str, topics: &[String]) -> Result<Vec<String>, String> {
    let mut filters: Vec<String> = Vec::new();
    for topic in topics {
        let words: Vec<&str> = topic.split('.').collect();
        let (last, before) = words.split_last().ok_or_else(|| topic.clone())?;
        if !words.iter().all(|word| is_word(word) && *word != ">") || before.contains(&"#") {
            return Err(topic.clone());
        }
        if *last == "#" {
            let start: Vec<&str> = std::iter::once(prefix).chain(before.iter().copied()).collect();
            let start = start.join(".");
            if !before.is_empty() {
                filters.push(start.clone());
            }
            filters.push(format!("{start}.>"));
        } else {
            filters.push(format!("{prefix}.{topic}"));
        }
    }
    filters.sort();
    filters.dedup();
    let all = filters.clone();
    filters.retain(|filter| !all.iter().any(|other| other != filter && contains(other, filter)));
    Ok(filters)
}

/// Whether everything that `inner` matches is matched by `outer`.
fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(word)) if word != ">" => {}
            (Some(word), Some(other)) if word == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_become_filters_that_do_not_overlap() {
        let filters = |topics: &[&str]| {
            let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
            filters("p", &topics)
        };
        assert_eq!(filters(&["order.placed", "order.*"]).unwrap(), ["p.order.*"]);
        assert_eq!(filters(&["order.#"]).unwrap(), ["p.order", "p.order.>"]);
        assert_eq!(filters(&["order.#", "#", "a.b"]).unwrap(), ["p.>"]);
        assert_eq!(filters(&["*.placed", "*.paid"]).unwrap(), ["p.*.paid", "p.*.placed"]);
        for wrong in ["a..b", "a.#.b", "a b", "", "a.>"] {
            assert_eq!(filters(&[wrong]), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn a_topic_with_wildcards_is_no_subject() {
        assert_eq!(subject_of("p", "order.placed"), Some("p.order.placed".to_owned()));
        assert_eq!(topic_of("p", "p.order.placed"), "order.placed");
        for wrong in ["order.*", "order.>", "", "a..b", "a b", "#"] {
            assert_eq!(subject_of("p", wrong), None, "{wrong}");
        }
    }
}
