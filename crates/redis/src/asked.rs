//! Asks of money whose outcome is not known: those under way, and those whose answer was lost. Pure.
//!
//! A connection that breaks may take with it the answer to an ask that was counted, and the money that it set aside would lie there for nobody. So each ask has a number, the server
//! notes the numbers of those that drew money, and how much, and once a lost one can arrive no more it is taken back as it is noted: which of its amounts was drawn, only the server knows. It cannot arrive any more when the server has been told that
//! the outcome of all asks up to its number is known: it refuses those then, which a socket may have kept for long. Who tells it is `settle.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use llm_router::limits::shared::Ask;

/// The most lost asks that are remembered. What more of them drew stays set aside: the caps hold.
const MOST: usize = 10_000;

/// Where an ask drew money, if it was counted.
pub(crate) type Books = Vec<Arc<str>>;

/// The asks of this process, by number.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    last: u64,
    /// Up to which number the server has been told that all outcomes are known.
    told: u64,
    under_way: BTreeSet<u64>,
    lost: BTreeMap<u64, Books>,
}

impl Asked {
    /// The number of a new ask.
    pub(crate) fn begin(&mut self, ask: &Ask) -> u64 {
        self.last += 1;
        if books(ask).next().is_some() {
            self.under_way.insert(self.last);
        }
        self.last
    }

    /// Its outcome is known.
    pub(crate) fn known(&mut self, number: u64) {
        self.under_way.remove(&number);
    }

    /// Its answer is lost. Gives whether that matters.
    pub(crate) fn lose(&mut self, number: u64, ask: &Ask) -> bool {
        let matters = self.under_way.remove(&number) && self.lost.len() < MOST;
        if matters {
            self.lost.insert(number, books(ask).collect());
        }
        matters
    }

    /// Whether every outcome is known.
    pub(crate) fn is_clear(&self) -> bool {
        self.under_way.is_empty() && self.lost.is_empty()
    }

    /// How many outcomes are known that the server has not been told of; it remembers those asks meanwhile.
    pub(crate) fn ahead(&self) -> u64 {
        self.known_to().saturating_sub(self.told)
    }

    /// The server is told that all outcomes up to this number are known.
    pub(crate) fn tell(&mut self, known: u64) {
        self.told = known;
    }

    fn known_to(&self) -> u64 {
        self.under_way.first().map_or(self.last, |first| first - 1)
    }

    /// Whether somebody who waits for outcomes may have less to wait for.
    pub(crate) fn may_settle(&self) -> bool {
        self.under_way.is_empty() || !self.lost.is_empty()
    }

    /// Up to which number all outcomes are known once these are taken back: as many of the lost as have no more than `most` books, but one in any case.
    pub(crate) fn settle(&mut self, most: usize) -> (u64, Vec<(u64, Books)>) {
        let known = self.known_to();
        let (mut taken, mut books) = (Vec::new(), 0);
        while let Some(entry) = self.lost.first_entry().filter(|entry| *entry.key() <= known) {
            books += entry.get().len();
            if books > most && !taken.is_empty() {
                return (*entry.key() - 1, taken);
            }
            taken.push(entry.remove_entry());
        }
        (known, taken)
    }
}

/// Where an ask may draw money.
fn books(ask: &Ask) -> impl Iterator<Item = Arc<str>> {
    let draws = ask.amounts.iter().any(|amount| *amount > 0);
    let dues = ask.accounts.iter().flat_map(|account| &account.money).filter(move |_| draws);
    dues.map(|due| Arc::clone(&due.books))
}

#[cfg(test)]
mod tests {
    use llm_router::limits::shared::{Account, Due};

    use super::*;

    /// Of two books.
    fn of_money(amounts: &[u64]) -> Ask {
        let due = |books: &str| Due { books: books.into(), cap: 9, expires: None };
        let account = Account { money: vec![due("a"), due("b")], ..Account::default() };
        Ask { accounts: vec![account], amounts: amounts.to_vec() }
    }

    #[test]
    fn a_lost_ask_is_taken_back_when_none_before_it_can_come() {
        let mut asked = Asked::default();
        let numbers = [(); 4].map(|()| asked.begin(&of_money(&[2, 1])));
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert!(asked.lose(3, &of_money(&[2, 1])) && !asked.is_clear());
        asked.known(1);
        assert_eq!(asked.settle(9), (1, Vec::new()), "the second may still be counted");
        asked.known(2);
        assert_eq!(asked.settle(9), (3, vec![(3, vec!["a".into(), "b".into()])]), "whichever was drawn");
        asked.known(4);
        assert_eq!(asked.settle(9), (4, Vec::new()));
        assert!(asked.is_clear());
    }

    #[test]
    fn what_draws_no_money_is_never_waited_for_and_a_batch_has_an_end() {
        let mut asked = Asked::default();
        for nothing in [Ask::default(), of_money(&[]), of_money(&[0])] {
            let number = asked.begin(&nothing);
            assert!(!asked.lose(number, &nothing) && asked.is_clear());
        }
        for _ in 0..3 {
            // One that may draw nothing in the end, or something.
            let number = asked.begin(&of_money(&[5, 0]));
            assert!(asked.lose(number, &of_money(&[5, 0])));
        }
        let batches: Vec<_> = std::iter::from_fn(|| (!asked.is_clear()).then(|| asked.settle(4))).collect();
        let sizes: Vec<_> = batches.iter().map(|(known, taken)| (*known, taken.len())).collect();
        assert_eq!(sizes, [(5, 2), (6, 1)]);
    }
}
