//! Iterators that know how many items they have, because somebody knows better than they do: what a list on the wire
//! begins with.

/// An iterator with its length.
pub(super) struct Counted<I> {
    items: I,
    left: usize,
}

impl<I: Iterator> Counted<I> {
    /// Items of which there are `len`.
    pub(super) fn new(items: I, len: usize) -> Counted<I> {
        Counted { items, left: len }
    }

    /// Items that are counted by going through them once more.
    pub(super) fn twice(items: I) -> Counted<I>
    where
        I: Clone,
    {
        let left = items.clone().count();
        Counted { items, left }
    }
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.items.next()?;
        self.left = self.left.saturating_sub(1);
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}
