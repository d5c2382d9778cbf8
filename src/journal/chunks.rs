//! A list that grows at its end and is cheap to copy: copies share what they have in common, so that a reader can look at the
//! whole of it while its writer goes on.

use std::sync::Arc;

/// So many items are copied at the most when one of them changes while a copy is looked at.
const CHUNK: usize = 512;

#[derive(Debug, Clone)]
pub struct Chunks<T> {
    /// All of them full but the last.
    chunks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// From this place on.
    pub fn since(&self, at: usize) -> impl Iterator<Item = &T> + Clone {
        let (chunk, skip) = (at / CHUNK, at % CHUNK);
        self.chunks.iter().skip(chunk).flat_map(|chunk| chunk.iter()).skip(skip)
    }

    /// How many items at the beginning satisfy `is`, where all that do stand before all that do not.
    pub fn partition_point(&self, is: impl Fn(&T) -> bool) -> usize {
        let whole = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is));
        self.chunks.get(whole).map_or(self.len(), |chunk| whole * CHUNK + chunk.partition_point(&is))
    }
}

impl<T: Clone> Chunks<T> {
    pub fn push(&mut self, item: T) {
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(item),
            None => self.chunks.push(Arc::new(vec![item])),
        }
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(at / CHUNK)?;
        // Looked up first: what is not there must not cost a copy.
        (at % CHUNK < chunk.len()).then(|| Arc::make_mut(chunk).get_mut(at % CHUNK)).flatten()
    }
}

impl<T: Clone> Extend<T> for Chunks<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<'a, T> IntoIterator for &'a Chunks<T> {
    type Item = &'a T;
    type IntoIter = Box<dyn Iterator<Item = &'a T> + 'a>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_list_that_it_looks_like_and_copies_do_not_see_each_other() {
        let mut list = Chunks::default();
        assert!(list.is_empty() && list.last().is_none() && list.partition_point(|_: &usize| true) == 0);
        list.extend(0..3 * CHUNK + 7);
        assert_eq!((list.len(), list.first(), list.last()), (3 * CHUNK + 7, Some(&0), Some(&(3 * CHUNK + 6))));
        assert!(list.iter().copied().eq(0..3 * CHUNK + 7));
        for at in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7, 9 * CHUNK] {
            assert_eq!(list.partition_point(|n| *n < at), at.min(list.len()));
            assert!(list.since(at).copied().eq(at..list.len().max(at)));
        }
        let copy = list.clone();
        *list.get_mut(5).unwrap() = 99;
        list.push(1);
        assert_eq!((copy.get(5), list.get(5), copy.len() + 1), (Some(&5), Some(&99), list.len()));
        assert!(list.get_mut(10 * CHUNK).is_none());
    }
}
