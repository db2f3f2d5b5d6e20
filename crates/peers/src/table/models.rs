//! Who serves which model: names as numbers, and for each model the offers of trusted peers and those of strangers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

/// The models that somebody serves.
#[derive(Debug, Default)]
pub(crate) struct Models {
    numbers: HashMap<Arc<str>, u32>,
    models: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// Strangers' offers, and those of trusted peers.
    pools: [Pool; 2],
}

/// Offers of one model.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// All of them, in no order: an offer knows its place.
    pub(crate) list: Vec<u32>,
    /// The same by the marks of their peers, so that the neighbours of a number are found.
    pub(crate) homes: BTreeSet<(u64, u32)>,
    /// The cheapest that were found lately.
    pub(crate) best: Vec<u32>,
}

impl Models {
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The number of a model, where there is room for one more.
    pub(crate) fn number(&mut self, name: &str, most: usize) -> Option<u32> {
        if let Some(number) = self.find(name) {
            return Some(number);
        }
        if self.models.len() >= most {
            return None;
        }
        let name: Arc<str> = name.into();
        let number = self.models.insert(Entry { name: Arc::clone(&name), pools: Default::default() }) as u32;
        self.numbers.insert(name, number);
        Some(number)
    }

    pub(crate) fn name(&self, model: u32) -> &str {
        self.models.get(model as usize).map_or("", |entry| &entry.name)
    }

    pub(crate) fn pool(&self, model: u32, trusted: bool) -> Option<&Pool> {
        self.models.get(model as usize)?.pools.get(usize::from(trusted))
    }

    pub(crate) fn pool_mut(&mut self, model: u32, trusted: bool) -> Option<&mut Pool> {
        self.models.get_mut(model as usize)?.pools.get_mut(usize::from(trusted))
    }

    /// Forgets a model that nobody serves.
    pub(crate) fn drop_unserved(&mut self, model: u32) {
        let unserved = |entry: &Entry| entry.pools.iter().all(|pool| pool.list.is_empty());
        if self.models.get(model as usize).is_some_and(unserved)
            && let Some(entry) = self.models.try_remove(model as usize)
        {
            self.numbers.remove(&entry.name);
        }
    }

    /// Each model with how many offers there are of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.models.iter().map(|(_, entry)| (&*entry.name, entry.pools.iter().map(|pool| pool.list.len()).sum()))
    }

    pub(crate) fn len(&self) -> usize {
        self.models.len()
    }
}
