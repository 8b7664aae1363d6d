//! A queue in which groups take turns, and in a group its members. Pure: no clock, no waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::limits::{Bounds, Lane};

/// Items by group and member, each member's in the order they came.
///
/// Where the whole is full, a newcomer of a group that has less than the longest one takes the
/// place of the last item of the longest: a flood displaces itself and nobody else.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    groups: HashMap<Arc<str>, Group<T>>,
    /// Groups with somebody waiting, the next one first.
    turns: VecDeque<Arc<str>>,
    waiting: usize,
}

#[derive(Debug)]
struct Group<T> {
    members: HashMap<Arc<str>, VecDeque<(u64, T)>>,
    turns: VecDeque<Arc<str>>,
    waiting: usize,
}

/// What became of a newcomer.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Pushed<T> {
    /// It waits.
    Waits,
    /// It waits in the place of this one.
    Displaced(T),
    /// There is no room for it.
    Full(T, Fullness),
}

/// Which bound was hit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fullness {
    /// The whole queue's.
    Queue,
    /// The group's.
    Group,
    /// The member's.
    Member,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// How many groups have somebody waiting.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Adds `item` under the number `ticket`, which only it has.
    pub(super) fn push(&mut self, lane: &Lane, ticket: u64, item: T, bounds: &Bounds) -> Pushed<T> {
        let group = self.groups.get(&lane.group);
        let (of_group, of_member) = group.map_or((0, 0), |group| {
            let member = group.members.get(&lane.member);
            (group.waiting, member.map_or(0, VecDeque::len))
        });
        if of_member >= bounds.per_member {
            return Pushed::Full(item, Fullness::Member);
        }
        let displaced = if of_group >= bounds.per_group {
            match self.displace_in(&lane.group, of_member + 1) {
                Some(displaced) => Some(displaced),
                None => return Pushed::Full(item, Fullness::Group),
            }
        } else if self.waiting >= bounds.waiting {
            match self.displace(of_group, of_member, lane) {
                Some(displaced) => Some(displaced),
                None => return Pushed::Full(item, Fullness::Queue),
            }
        } else {
            None
        };
        self.insert(lane, ticket, item);
        displaced.map_or(Pushed::Waits, Pushed::Displaced)
    }

    /// Takes out the one whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let name = self.turns.pop_front()?;
        let group = self.groups.get_mut(&name)?;
        let item = group.pop();
        self.waiting = self.waiting.saturating_sub(usize::from(item.is_some()));
        if group.waiting == 0 {
            self.groups.remove(&name);
        } else {
            self.turns.push_back(name);
        }
        item
    }

    /// Takes out the one with this number, who does not wait any more.
    pub(super) fn remove(&mut self, lane: &Lane, ticket: u64) -> Option<T> {
        let group = self.groups.get_mut(&lane.group)?;
        let member = group.members.get_mut(&lane.member)?;
        let at = member.iter().position(|(number, _)| *number == ticket)?;
        let (_, item) = member.remove(at)?;
        self.removed(&lane.group, &lane.member);
        Some(item)
    }

    fn insert(&mut self, lane: &Lane, ticket: u64, item: T) {
        if !self.groups.contains_key(&lane.group) {
            self.turns.push_back(Arc::clone(&lane.group));
        }
        let group = self.groups.entry(Arc::clone(&lane.group)).or_default();
        if !group.members.contains_key(&lane.member) {
            group.turns.push_back(Arc::clone(&lane.member));
        }
        let member = group.members.entry(Arc::clone(&lane.member)).or_default();
        member.push_back((ticket, item));
        group.waiting += 1;
        self.waiting += 1;
    }

    /// The last item of the longest group, if a newcomer of a group of `of_group` may displace it.
    fn displace(&mut self, of_group: usize, of_member: usize, lane: &Lane) -> Option<T> {
        let longest = self.groups.iter().max_by_key(|(_, group)| group.waiting);
        let (name, length) = longest.map(|(name, group)| (Arc::clone(name), group.waiting))?;
        if name == lane.group {
            return self.displace_in(&name, of_member + 1);
        }
        if length <= of_group + 1 {
            return None;
        }
        self.displace_in(&name, 0)
    }

    /// The last item of the longest member of a group, if that has more than `above`.
    fn displace_in(&mut self, name: &Arc<str>, above: usize) -> Option<T> {
        let group = self.groups.get_mut(name)?;
        let longest = group.members.iter().max_by_key(|(_, items)| items.len());
        let member = longest
            .filter(|(_, items)| items.len() > above)
            .map(|(member, _)| Arc::clone(member))?;
        let (_, item) = group.members.get_mut(&member)?.pop_back()?;
        self.removed(name, &member);
        Some(item)
    }

    /// Keeps the books after an item of `member` was taken out.
    fn removed(&mut self, name: &Arc<str>, member: &Arc<str>) {
        self.waiting = self.waiting.saturating_sub(1);
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.waiting = group.waiting.saturating_sub(1);
        if group.members.get(member).is_some_and(VecDeque::is_empty) {
            group.members.remove(member);
            group.turns.retain(|turn| turn != member);
        }
        if group.waiting == 0 {
            self.groups.remove(name);
            self.turns.retain(|turn| turn != name);
        }
    }
}

impl<T> Group<T> {
    fn pop(&mut self) -> Option<T> {
        let name = self.turns.pop_front()?;
        let items = self.members.get_mut(&name)?;
        let (_, item) = items.pop_front()?;
        self.waiting = self.waiting.saturating_sub(1);
        if items.is_empty() {
            self.members.remove(&name);
        } else {
            self.turns.push_back(name);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        running: 1,
        waiting: 8,
        per_group: 6,
        per_member: 4,
        wait: Duration::from_secs(1),
    };

    fn lane(group: &str, member: &str) -> Lane {
        Lane {
            group: group.into(),
            member: member.into(),
        }
    }

    fn fill(queue: &mut FairQueue<u64>, of: &Lane, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(queue.push(of, number, number, &BOUNDS), Pushed::Waits);
        }
    }

    #[test]
    fn groups_take_turns_and_so_do_members() {
        let mut queue = FairQueue::default();
        fill(&mut queue, &lane("flood", "a"), 0..3);
        fill(&mut queue, &lane("flood", "b"), 10..11);
        fill(&mut queue, &lane("quiet", "c"), 20..22);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 20, 10, 21, 1, 2]);
        assert_eq!((queue.len(), queue.groups()), (0, 0));
    }

    #[test]
    fn a_flood_displaces_itself_and_not_the_quiet() {
        let mut queue = FairQueue::default();
        fill(&mut queue, &lane("flood", "a"), 0..4);
        fill(&mut queue, &lane("flood", "b"), 4..6);
        fill(&mut queue, &lane("other", "c"), 6..8);
        // A member has its bound.
        let pushed = queue.push(&lane("flood", "a"), 8, 8, &BOUNDS);
        assert_eq!(pushed, Pushed::Full(8, Fullness::Member));
        // A group has its bound; in it, the longest member makes room for a new one.
        let pushed = queue.push(&lane("flood", "new"), 9, 9, &BOUNDS);
        assert_eq!(pushed, Pushed::Displaced(3));
        let pushed = queue.push(&lane("flood", "b"), 10, 10, &BOUNDS);
        assert_eq!(pushed, Pushed::Full(10, Fullness::Group));
        // The whole has its bound; the longest group makes room for a new one.
        let pushed = queue.push(&lane("quiet", "d"), 11, 11, &BOUNDS);
        assert_eq!(pushed, Pushed::Displaced(2));
        assert_eq!(queue.len(), 8);
    }

    #[test]
    fn of_groups_alike_the_newcomer_has_to_go() {
        let mut queue = FairQueue::default();
        for number in 0..8 {
            let of = lane(&format!("group-{number}"), "m");
            assert_eq!(queue.push(&of, number, number, &BOUNDS), Pushed::Waits);
        }
        let pushed = queue.push(&lane("group-9", "m"), 9, 9, &BOUNDS);
        assert_eq!(pushed, Pushed::Full(9, Fullness::Queue));
        // And so of members alike in a group.
        let mut queue = FairQueue::default();
        for number in 0..6 {
            let of = lane("g", &format!("member-{number}"));
            assert_eq!(queue.push(&of, number, number, &BOUNDS), Pushed::Waits);
        }
        let pushed = queue.push(&lane("g", "member-9"), 9, 9, &BOUNDS);
        assert_eq!(pushed, Pushed::Full(9, Fullness::Group));
    }

    #[test]
    fn who_left_is_not_given_a_turn() {
        let mut queue = FairQueue::default();
        let of = lane("g", "m");
        fill(&mut queue, &of, 0..3);
        assert_eq!(queue.remove(&of, 1), Some(1));
        assert_eq!(queue.remove(&of, 1), None);
        assert_eq!(queue.remove(&lane("g", "x"), 0), None);
        assert_eq!(
            (queue.pop(), queue.pop(), queue.pop()),
            (Some(0), Some(2), None)
        );
        assert_eq!(queue.groups(), 0);
    }

    proptest! {
        /// Nobody is lost, nobody is served twice, and no bound is passed, whatever comes.
        #[test]
        fn the_books_are_right(steps in prop::collection::vec((0_u8..4, 0_u8..4, 0_u8..6), 1..400)) {
            let mut queue = FairQueue::default();
            let mut inside = std::collections::BTreeMap::new();
            for (number, (group, member, action)) in (0_u64..).zip(steps) {
                let of = lane(&format!("g{group}"), &format!("m{member}"));
                match action {
                    0 => {
                        let popped = queue.pop();
                        prop_assert_eq!(popped.is_none(), inside.is_empty());
                        if let Some(popped) = popped {
                            prop_assert!(inside.remove(&popped).is_some());
                        }
                    }
                    1 => {
                        let first = inside.iter().next().map(|(n, of)| (*n, Lane::clone(of)));
                        if let Some((first, of)) = first {
                            prop_assert_eq!(queue.remove(&of, first), Some(first));
                            inside.remove(&first);
                        }
                    }
                    _ => match queue.push(&of, number, number, &BOUNDS) {
                        Pushed::Waits => {
                            inside.insert(number, of);
                        }
                        Pushed::Displaced(gone) => {
                            prop_assert!(inside.remove(&gone).is_some());
                            inside.insert(number, of);
                        }
                        Pushed::Full(back, _) => prop_assert_eq!(back, number),
                    },
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert!(queue.len() <= BOUNDS.waiting);
            }
            let left = std::iter::from_fn(|| queue.pop()).count();
            prop_assert_eq!(left, inside.len());
            prop_assert_eq!(queue.groups(), 0);
        }
    }
}
