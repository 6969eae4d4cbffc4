//! The windows and the slots of one key, account, network or pool, behind one lock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::cells::{self, Gcra};
use super::log::Log;
use crate::account::{QuotaGroup, QuotaOrigin, QuotaPolicy};
use crate::limit::{Correction, LimitDecision, WindowStatus};

/// The windows that count the requests of one owner.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Windows>);

#[derive(Debug)]
pub(super) struct Windows {
    /// True if the limiter has dropped the bucket: a record that still points here must look its bucket up again.
    pub(super) dropped: bool,
    /// The windows of the origin that was drawn from first. Most owners have no other.
    first: Section,
    /// A thin pointer: a bucket has two cache lines.
    more: Option<Box<More>>,
}

/// The parts of a bucket that most owners do not have.
#[derive(Debug, Default)]
struct More {
    /// The windows of other origins.
    sections: SmallVec<[Section; 1]>,
    /// The requests in flight.
    held: SmallVec<[HeldSlots; 2]>,
}

/// The number of requests in flight that are counted for the limit of one origin.
#[derive(Debug)]
struct HeldSlots {
    origin: QuotaOrigin,
    count: u32,
}

/// The windows of the quotas of one origin.
#[derive(Debug)]
struct Section {
    group: Arc<CompiledGroup>,
    cells: SmallVec<[Window; 2]>,
    /// Windows that were not full and not in this group when the group changed. Another key of the account or pool may
    /// use them.
    aside: Box<[(QuotaPolicy, Window)]>,
}

/// The policies of a group of quotas, with the values that are the same for all buckets of the group.
#[derive(Debug)]
pub(super) struct CompiledGroup {
    origin: QuotaOrigin,
    policies: Arc<[QuotaPolicy]>,
    /// The limiter of each policy; a strict policy does not use it.
    gcras: Box<[Gcra]>,
}

impl CompiledGroup {
    pub(super) fn new(group: &QuotaGroup) -> Self {
        let (origin, policies) = (group.origin().clone(), Arc::clone(group.policies()));
        let gcras = policies.iter().map(Gcra::of).collect();
        Self { origin, policies, gcras }
    }

    /// Creates a group without quotas, for an owner that has only slots so far.
    pub(super) fn empty() -> Self {
        Self { origin: QuotaOrigin::Plan, policies: Arc::from([]), gcras: Box::default() }
    }
}

/// A window: the time at which it is full again, and that time if the current draw is taken, both in monotonic
/// nanoseconds.
#[derive(Debug)]
struct Window {
    full_at: u64,
    tested: u64,
    count: Count,
}

/// The counting method of a window.
#[derive(Debug)]
enum Count {
    /// The time until the window is full is the count.
    Cells,
    /// For a strict window.
    Log(Box<Log>),
}

/// The weight of a draw, and its time in monotonic nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightAndTime {
    pub(super) weight: NonZeroU32,
    pub(super) now: u64,
}

/// The result of a draw for one window, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowVerdict {
    /// The time to wait, or zero if the window admits the request.
    pub(super) wait: u64,
    /// The number of units that it has left.
    pub(super) remaining: u32,
    /// The time until it is full.
    pub(super) ahead: u64,
    /// The time until it has one more unit. Zero if it is full.
    pub(super) next: u64,
}

impl Bucket {
    pub(super) fn new(group: Arc<CompiledGroup>) -> Self {
        Self(Mutex::new(Windows { dropped: false, first: Section::new(group), more: None }))
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    /// Returns true if all windows are full and no request is in flight, so that dropping the bucket loses nothing.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.full_at() <= now
    }

    /// Returns the time at which all windows are full. While a request is in flight, this is [`u64::MAX`].
    pub(super) fn full_at(&self) -> u64 {
        if self.more.iter().any(|more| more.held.iter().any(|held| held.count > 0)) {
            return u64::MAX;
        }
        let sections = std::iter::once(&self.first).chain(self.more());
        sections.map(Section::full_at).max().unwrap_or(0)
    }

    /// Returns the number of requests in flight that are counted for the limit of an origin.
    #[inline]
    pub(super) fn held(&mut self, origin: &QuotaOrigin) -> &mut u32 {
        let held = &mut self.more.get_or_insert_default().held;
        let place = held.iter().position(|held| held.origin == *origin).unwrap_or_else(|| {
            held.push(HeldSlots { origin: origin.clone(), count: 0 });
            held.len() - 1
        });
        &mut held[place].count
    }

    /// Tests every window of all groups of a draw that count this owner, without taking from any.
    #[inline]
    pub(super) fn test(
        &mut self,
        groups: &[QuotaGroup],
        mut compile: impl FnMut(&QuotaGroup) -> Arc<CompiledGroup>,
        draw: WeightAndTime,
        verdict: &mut Verdict,
    ) {
        for quotas in groups {
            self.section(quotas, || compile(quotas), draw.now).test(draw, verdict);
        }
    }

    /// Tests every window of the only group of a draw, and takes its cells if all have one.
    #[inline]
    pub(super) fn draw(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        draw: WeightAndTime,
        verdict: &mut Verdict,
    ) {
        let section = self.section(quotas, compile, draw.now);
        section.test(draw, verdict);
        if verdict.admits() {
            section.take(draw);
        }
    }

    /// Takes the cells of the preceding test.
    #[inline]
    pub(super) fn take(&mut self, groups: &[QuotaGroup], draw: WeightAndTime) {
        for quotas in groups {
            // The test has switched the section to these policies.
            if let Some(section) = self.known_section(quotas) {
                section.take(draw);
            }
        }
    }

    pub(super) fn peek(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        now: u64,
        window_statuses: &mut Vec<WindowStatus>,
    ) {
        self.section(quotas, compile, now).peek(now, window_statuses);
    }

    /// Changes the units that a draw took from the windows of a group.
    pub(super) fn correct(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        correction: &Correction<'_>,
    ) {
        let section = self.section(quotas, compile, correction.draw.now.ticks());
        let policies = section.group.policies.iter().zip(&mut section.cells);
        for (policy, window) in policies.filter(|(policy, _)| !policy.counts_requests()) {
            window.correct(policy, correction);
        }
    }

    /// Returns the windows of a group, if they have its policies.
    #[inline]
    fn known_section(&mut self, quotas: &QuotaGroup) -> Option<&mut Section> {
        if self.first.is_of(quotas) {
            return Some(&mut self.first);
        }
        let more = self.more.as_mut()?;
        more.sections.iter_mut().find(|section| section.is_of(quotas))
    }

    fn more(&self) -> &[Section] {
        self.more.as_ref().map_or(&[], |more| &more.sections)
    }

    /// Returns the windows of a group.
    #[inline]
    fn section(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        now: u64,
    ) -> &mut Section {
        if self.first.is_of(quotas) {
            return &mut self.first;
        }
        match self.more().iter().position(|section| section.is_of(quotas)) {
            Some(place) => &mut self.more.get_or_insert_default().sections[place],
            None => self.changed_section(quotas, compile(), now),
        }
    }

    /// Returns the windows of a group whose policies have changed, or that has no windows yet.
    #[cold]
    fn changed_section(&mut self, quotas: &QuotaGroup, group: Arc<CompiledGroup>, now: u64) -> &mut Section {
        let is_same = |section: &Section| section.group.origin == *quotas.origin();
        if is_same(&self.first) {
            self.first.follow(group, now);
            return &mut self.first;
        }
        let place = self.more().iter().position(is_same);
        let more = &mut self.more.get_or_insert_default().sections;
        match place {
            Some(place) => more[place].follow(group, now),
            None => more.push(Section::new(group)),
        }
        let place = place.unwrap_or(more.len() - 1);
        &mut more[place]
    }
}

impl Section {
    fn new(group: Arc<CompiledGroup>) -> Self {
        let cells = group.policies.iter().map(Window::full).collect();
        Self { group, cells, aside: Box::default() }
    }

    /// Returns true if the section has exactly these policies.
    #[inline]
    fn is_of(&self, quotas: &QuotaGroup) -> bool {
        Arc::ptr_eq(&self.group.policies, quotas.policies())
    }

    fn full_at(&self) -> u64 {
        let aside = self.aside.iter().map(|(_, window)| window);
        self.cells.iter().chain(aside).map(|window| window.full_at).max().unwrap_or(0)
    }

    /// Tests every window, without taking from any.
    #[inline]
    fn test(&mut self, draw: WeightAndTime, verdict: &mut Verdict) {
        if !self.aside.is_empty() {
            return self.test_beside_others(draw, verdict);
        }
        for (place, (gcra, window)) in self.group.gcras.iter().zip(&mut self.cells).enumerate() {
            verdict.count(window.test(gcra, || &self.group.policies[place], draw));
        }
    }

    /// Tests every window, and the windows of other quotas that count the same requests.
    #[cold]
    fn test_beside_others(&mut self, draw: WeightAndTime, verdict: &mut Verdict) {
        if self.aside.iter().all(|(_, window)| window.full_at <= draw.now) {
            self.aside = Box::default();
        }
        let policies = self.group.policies.iter().zip(&self.group.gcras);
        for ((policy, gcra), window) in policies.zip(&mut self.cells) {
            let told = window.test(gcra, || policy, draw);
            verdict.count(window.test_beside(told, policy, &self.aside, draw));
        }
    }

    /// Takes the cells of the preceding test.
    #[inline]
    fn take(&mut self, WeightAndTime { weight, now }: WeightAndTime) {
        for (place, window) in self.cells.iter_mut().enumerate() {
            window.full_at = window.tested;
            match &mut window.count {
                Count::Cells => {}
                Count::Log(log) => log.take(&self.group.policies[place], weight, now),
            }
        }
    }

    fn peek(&mut self, now: u64, window_statuses: &mut Vec<WindowStatus>) {
        for (policy, window) in self.group.policies.iter().zip(&self.cells) {
            let told = window.peek_beside(policy, &self.aside, now);
            window_statuses.push(told.to_status(window_statuses.len()));
        }
    }

    /// Switches to other policies, as when a key changes its plan or another key of the account has its own quotas.
    ///
    /// A window that is not in the new policies keeps its state until it is full. A window whose quota alone changed is
    /// thus known by both quotas: otherwise a key with a high quota would refill the window of a key with a low one.
    fn follow(&mut self, group: Arc<CompiledGroup>, now: u64) {
        let mut known = std::mem::take(&mut self.aside).into_vec();
        known.extend(self.group.policies.iter().cloned().zip(self.cells.drain(..)));
        known.retain(|(_, window)| window.full_at > now);
        for policy in group.policies.iter() {
            let place = known.iter().position(|(old, _)| is_one_window(old, policy));
            let window = place.map(|place| known.swap_remove(place).1);
            self.cells.push(window.unwrap_or_else(|| Window::full(policy)));
        }
        join_most(&mut known);
        self.aside = known.into_boxed_slice();
        self.group = group;
    }
}

/// The number of quotas for which the windows that count the same requests are kept apart.
const QUOTAS: usize = 64;

fn is_one_window(a: &QuotaPolicy, b: &QuotaPolicy) -> bool {
    let pace = |policy: &QuotaPolicy| if policy.is_strict() { 0 } else { policy.refill_nanos() };
    count_the_same(a, b) && pace(a) == pace(b)
}

/// Returns true if two policies have windows that count the same requests.
fn count_the_same(a: &QuotaPolicy, b: &QuotaPolicy) -> bool {
    a.name() == b.name() && a.window() == b.window() && a.is_strict() == b.is_strict()
}

/// Joins windows that count the same requests, where there are more than [`QUOTAS`] of them. The joined window is as
/// strict as both: the later time, at the faster pace.
fn join_most(known: &mut Vec<(QuotaPolicy, Window)>) {
    let mut place = QUOTAS;
    while place < known.len() {
        let mut earlier = (0..place).filter(|earlier| count_the_same(&known[*earlier].0, &known[place].0));
        let (first, most) = (earlier.next(), earlier.nth(QUOTAS - 2));
        let Some(first) = first.filter(|_| most.is_some()) else {
            place += 1;
            continue;
        };
        let (policy, window) = known.swap_remove(place);
        let (kept_policy, kept) = &mut known[first];
        kept.full_at = kept.full_at.max(window.full_at);
        if policy.refill_nanos() < kept_policy.refill_nanos() {
            *kept_policy = policy;
        }
    }
}

/// Returns the windows of other quotas that count the same requests as a policy's window and are not full: the refill
/// time of a cell, and the time until the window is full.
fn others<'a>(
    policy: &'a QuotaPolicy,
    aside: &'a [(QuotaPolicy, Window)],
    now: u64,
) -> impl Iterator<Item = (u64, u64)> + 'a {
    let same = aside.iter().filter(|(other, _)| !other.is_strict() && count_the_same(other, policy));
    same.map(move |(other, window)| (other.refill_nanos(), window.full_at.saturating_sub(now)))
        .filter(|(_, ahead)| *ahead > 0)
}

impl Window {
    fn full(policy: &QuotaPolicy) -> Self {
        let count = if policy.is_strict() { Count::Log(Box::new(Log::new(policy))) } else { Count::Cells };
        Self { full_at: 0, tested: 0, count }
    }

    /// Changes the units that a draw took.
    fn correct(&mut self, policy: &QuotaPolicy, correction: &Correction<'_>) {
        let drawn = correction.draw.weight.min(policy.heaviest()).get();
        match &mut self.count {
            Count::Cells => self.full_at = cells::corrected(policy, self.full_at, drawn, correction),
            Count::Log(log) => {
                log.correct(policy, drawn, correction);
                self.full_at = log.full_at();
            }
        }
    }

    /// Returns the result of a draw, without taking it.
    #[inline]
    fn test<'p>(
        &mut self,
        gcra: &Gcra,
        policy: impl FnOnce() -> &'p QuotaPolicy,
        WeightAndTime { weight, now }: WeightAndTime,
    ) -> WindowVerdict {
        let told = match &mut self.count {
            Count::Cells => gcra.test(weight, self.full_at.saturating_sub(now)),
            Count::Log(log) => log.test(policy(), weight, now),
        };
        self.tested = now.saturating_add(told.ahead);
        told
    }

    /// Returns the result of a draw, where `told` is the result without the windows of other quotas.
    ///
    /// The draw waits for each of these windows too. What a window has counted is taken over cell by cell. It is
    /// refilled at the pace of the quota under which it was taken, so that no wait is longer than the window.
    fn test_beside(
        &mut self,
        told: WindowVerdict,
        policy: &QuotaPolicy,
        aside: &[(QuotaPolicy, Window)],
        WeightAndTime { weight, now }: WeightAndTime,
    ) -> WindowVerdict {
        let refill = policy.refill_nanos();
        let units = weight.min(policy.heaviest()).get();
        // The number of cells that may be taken already.
        let most = u64::from(policy.capacity().saturating_sub(units));
        let own = self.full_at.saturating_sub(now);
        let (mut wait, mut taken, mut longest) = (told.wait, own, own);
        let mut remaining = cells::left(policy, refill, own);
        let mut is_alone = true;
        for (unit, ahead) in others(policy, aside, now) {
            is_alone = false;
            wait = wait.max(ahead.saturating_sub(unit.saturating_mul(most)));
            taken = taken.max(cells::converted(ahead, unit, refill).min(refill.saturating_mul(most)));
            remaining = remaining.min(cells::left(policy, unit, ahead));
            longest = longest.max(ahead);
        }
        if is_alone {
            return told;
        }
        let mut ahead = own;
        if wait == 0 {
            ahead = taken.saturating_add(refill.saturating_mul(u64::from(units)));
            self.tested = now.saturating_add(ahead);
            remaining = cells::left_after(policy, ahead);
        }
        let each = others(policy, aside, now).chain([(refill, ahead)]);
        let next = each.map(|(unit, ahead)| cells::time_to_more_than(remaining, policy, unit, ahead));
        WindowVerdict { wait, remaining, ahead: longest.max(ahead), next: next.max().unwrap_or(0) }
    }

    /// Returns the state of the window, beside the windows of other quotas.
    fn peek_beside(&self, policy: &QuotaPolicy, aside: &[(QuotaPolicy, Window)], now: u64) -> WindowVerdict {
        let own = match &self.count {
            Count::Log(log) => return log.peek(policy, now),
            Count::Cells => (policy.refill_nanos(), self.full_at.saturating_sub(now)),
        };
        let each = || others(policy, aside, now).chain([own]);
        let remaining = each().map(|(unit, ahead)| cells::left(policy, unit, ahead)).min().unwrap_or(0);
        let next = each().map(|(unit, ahead)| cells::time_to_more_than(remaining, policy, unit, ahead));
        let ahead = each().map(|(_, ahead)| ahead).max().unwrap_or(0);
        WindowVerdict { wait: 0, remaining, ahead, next: next.max().unwrap_or(0) }
    }
}

impl WindowVerdict {
    /// Returns the state of the window with this index.
    #[inline]
    fn to_status(self, place: usize) -> WindowStatus {
        let reset = Duration::from_nanos(self.ahead);
        WindowStatus::new(place, self.remaining, reset).with_next_nanos(self.next)
    }
}

/// The combined result of a draw for all windows.
#[derive(Debug)]
pub(super) struct Verdict {
    seen: usize,
    /// The index of the window with the longest wait, or, if all admit, of the one with the least left; and its result.
    place: usize,
    told: WindowVerdict,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { seen: 0, place: 0, told: WindowVerdict { wait: 0, remaining: u32::MAX, ahead: 0, next: 0 } }
    }
}

impl Verdict {
    #[inline]
    fn count(&mut self, told: WindowVerdict) {
        let fewer =
            self.admits() && told.wait == 0 && (self.seen == 0 || told.remaining < self.told.remaining);
        if told.wait > self.told.wait || fewer {
            (self.place, self.told) = (self.seen, told);
        }
        self.seen += 1;
    }

    #[inline]
    pub(super) fn admits(&self) -> bool {
        self.told.wait == 0
    }

    #[inline]
    pub(super) fn to_quota(&self) -> LimitDecision {
        let window_status = self.told.to_status(self.place);
        if self.admits() {
            LimitDecision::Within(window_status)
        } else {
            LimitDecision::Exceeded { retry_after: Duration::from_nanos(self.told.wait), window_status }
        }
    }
}
