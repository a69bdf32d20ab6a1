//! One piece of work for each name, however many wait for it and whoever gives up waiting.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Refusal;
use crate::domain::hostname::CertificateName;

/// How a flight ends, for every waiter.
pub type Outcome<R> = Result<Arc<R>, Refusal>;

type UnderWay<R> = Arc<Mutex<HashMap<CertificateName, watch::Receiver<Option<Outcome<R>>>>>>;

/// The flights under way. Each belongs to the process, not to a waiter.
pub struct Flights<R> {
    under_way: UnderWay<R>,
    most: AtomicUsize,
    runtime: Handle,
}

/// A place among those who wait for a flight.
pub struct Landing<R> {
    outcome: watch::Receiver<Option<Outcome<R>>>,
}

impl<R: Send + Sync + 'static> Flights<R> {
    /// At most `most` flights at once. They run on `runtime`, on whatever thread they are joined.
    pub fn new(most: usize, runtime: Handle) -> Self {
        Self { under_way: Arc::default(), most: AtomicUsize::new(most), runtime }
    }

    /// Lets so many be under way at once from now on.
    pub fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Joins the flight of `name`, or starts one with `work`; [`Refusal::Busy`] where too
    /// many are under way.
    pub fn join<F>(&self, name: &CertificateName, work: impl FnOnce() -> F) -> Result<Landing<R>, Refusal>
    where
        F: Future<Output = Outcome<R>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock();
        if let Some(outcome) = under_way.get(name) {
            return Ok(Landing { outcome: outcome.clone() });
        }
        if under_way.len() >= self.most.load(Ordering::Relaxed) {
            return Err(Refusal::Busy);
        }
        let (lands, outcome) = watch::channel(None);
        under_way.insert(name.clone(), outcome.clone());
        let place = Place { under_way: self.under_way.clone(), name: name.clone() };
        let work = work();
        self.runtime.spawn(async move {
            let place = place;
            let outcome = work.await;
            // Gone from the map before the waiters wake: whoever comes later finds the result
            // in memory or starts anew.
            drop(place);
            lands.send_replace(Some(outcome));
        });
        Ok(Landing { outcome })
    }

    /// Whether one is under way for `name`, which a caller can join at no cost.
    pub fn holds(&self, name: &str) -> bool {
        self.under_way.lock().contains_key(name)
    }

    /// Waits until all flights that are under way now have ended.
    pub async fn all_landed(&self) {
        let outcomes: Vec<_> = self.under_way.lock().values().cloned().collect();
        for outcome in outcomes {
            drop(Landing { outcome }.wait().await);
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R> Landing<R> {
    /// Waits for the end, which a caller may stop doing at any time.
    pub async fn wait(mut self) -> Outcome<R> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }
}

fn lost() -> Refusal {
    Refusal::Fault("the work on this name was broken off".into())
}

/// A flight's entry in the map, taken out when the flight ends, by a panic too.
struct Place<R> {
    under_way: UnderWay<R>,
    name: CertificateName,
}

impl<R> Drop for Place<R> {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn name(raw: &str) -> CertificateName {
        raw.parse().unwrap()
    }

    #[tokio::test]
    async fn many_waiters_share_one_flight_which_outlives_those_who_leave() {
        let flights = Flights::<u8>::new(10, Handle::current());
        let started = Arc::new(AtomicUsize::new(0));
        let (go, gate) = watch::channel(false);
        let join = || {
            let (started, mut gate) = (started.clone(), gate.clone());
            flights.join(&name("a.test"), || async move {
                started.fetch_add(1, Ordering::SeqCst);
                gate.wait_for(|open| *open).await.map_err(|_| lost())?;
                Ok(Arc::new(7))
            })
        };
        drop(join().unwrap());
        let waiters: Vec<_> = (0..100).map(|_| join().unwrap()).collect();
        go.send_replace(true);
        for waiter in waiters {
            assert_eq!(*waiter.wait().await.unwrap(), 7);
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_its_flight_alone_and_beyond_the_bound_new_ones_are_refused() {
        let flights = Flights::<u8>::new(1, Handle::current());
        let landing = flights.join(&name("a.test"), || async { panic!("on purpose") }).unwrap();
        assert!(matches!(flights.join(&name("b.test"), || async { Ok(Arc::new(1)) }), Err(Refusal::Busy)));
        assert!(matches!(landing.wait().await, Err(Refusal::Fault(_))));
        let landing = flights.join(&name("b.test"), || async { Ok(Arc::new(1)) }).unwrap();
        assert_eq!(*landing.wait().await.unwrap(), 1);
    }
}
