//! Determines which runner works for which partition. Every runner computes the same assignment.

use std::collections::BTreeSet;

use es_core::{ConsumerName, Member};

/// Returns the member that a partition of a consumer is assigned to; `None` if no member would run it. `index` is the
/// number of the partition.
///
/// The members that would run a consumer receive its partitions in turn. The first member differs from consumer to
/// consumer, so that several consumers with one partition each are spread too. When a member joins or leaves, all
/// shares stay as even as possible.
pub(crate) fn assigned<'a>(members: &'a [Member], consumer: &ConsumerName, index: usize) -> Option<&'a str> {
    let mut able: Vec<&str> =
        members.iter().filter(|member| member.consumer == *consumer).map(|member| member.member.as_str()).collect();
    able.sort_unstable();
    let consumers: BTreeSet<&ConsumerName> = members.iter().map(|member| &member.consumer).collect();
    let place = consumers.iter().position(|known| *known == consumer)?;
    able.get((place + index).checked_rem(able.len())?).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn name(name: &str) -> ConsumerName {
        ConsumerName::new(name).unwrap()
    }

    fn members(consumers: &[&str], members: &[&str]) -> Vec<Member> {
        let pairs = consumers.iter().flat_map(|consumer| members.iter().map(move |member| (consumer, member)));
        pairs.map(|(consumer, member)| Member { consumer: name(consumer), member: (*member).to_owned() }).collect()
    }

    fn shares(members: &[Member], consumers: &[&str], partitions: usize) -> Vec<usize> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for consumer in consumers {
            for index in 0..partitions {
                *counts.entry(assigned(members, &name(consumer), index).unwrap()).or_default() += 1;
            }
        }
        let mut shares: Vec<_> = counts.into_values().collect();
        shares.sort_unstable();
        shares
    }

    #[test]
    fn partitions_of_one_consumer_and_consumers_of_one_partition_are_spread_evenly() {
        let consumers = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(shares(&members(&consumers, &["x", "y", "z"]), &consumers, 1), [2, 2, 3]);
        assert_eq!(shares(&members(&["a"], &["x", "y", "z"]), &["a"], 8), [2, 3, 3]);
        assert_eq!(shares(&members(&consumers, &["x"]), &consumers, 4), [28]);
    }

    #[test]
    fn everybody_gets_the_same_answer_in_whatever_order_the_members_are_and_nobody_runs_what_nobody_can() {
        let (mut members, consumers) = (members(&["a", "b"], &["x", "y"]), [name("a"), name("b")]);
        let before: Vec<_> = consumers.iter().map(|c| assigned(&members, c, 0).unwrap().to_owned()).collect();
        members.reverse();
        let after: Vec<_> = consumers.iter().map(|c| assigned(&members, c, 0).unwrap().to_owned()).collect();
        assert_eq!(before, after);
        assert_eq!(assigned(&members, &name("c"), 0), None);
        members.retain(|member| member.consumer != name("a") || member.member == "y");
        assert_eq!(assigned(&members, &name("a"), 0), Some("y"));
        assert_eq!(assigned(&members, &name("a"), 5), Some("y"));
    }
}
