//! Reproducible chance.

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same run on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    /// True once in `of` times.
    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// One to `most` distinct elements, in their order.
    pub(crate) fn some<'t, T>(&mut self, of: &'t [T], most: usize) -> Vec<&'t T> {
        let wanted = 1 + self.below(most.min(of.len()));
        let mut places: Vec<usize> = (0..of.len()).collect();
        while places.len() > wanted {
            let out = self.below(places.len());
            places.remove(out);
        }
        places.into_iter().map(|place| &of[place]).collect()
    }
}
