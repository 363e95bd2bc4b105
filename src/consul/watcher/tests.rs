use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::consul::kv::Listing;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::{Txn, TxnOp};

/// Answers watches from a list and writes down what was waited from.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(u64, &'static str)>>,
    asked: Mutex<Vec<Option<u64>>>,
}

#[async_trait]
impl Kv for Script {
    async fn get(&self, _: &str) -> Result<Option<Entry>, ConsulError> {
        panic!("not used")
    }

    async fn list(&self, _: &str) -> Result<Listing, ConsulError> {
        panic!("not used")
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        _: Duration,
    ) -> Result<Listing, ConsulError> {
        self.asked.lock().unwrap().push(after);
        let (index, value) = self.answers.lock().unwrap().pop_front().unwrap();
        let entry = Entry {
            key: format!("{prefix}a"),
            value: value.into(),
            create_index: 1,
            // Another value has another one.
            modify_index: value.bytes().map(u64::from).sum(),
            lock_index: 0,
            session: None,
        };
        Ok(Listing { index, entries: vec![entry] })
    }

    async fn transact(&self, _: Vec<TxnOp>) -> Result<Txn, ConsulError> {
        panic!("not used")
    }
}

async fn follow(answers: &[(u64, &'static str)], calls: usize) -> (Vec<bool>, Vec<Option<u64>>) {
    let script = Arc::new(Script {
        answers: Mutex::new(answers.iter().copied().collect()),
        ..Script::default()
    });
    let mut watcher = Watcher::new(script.clone(), "app/", Duration::from_secs(1));
    let mut changed = Vec::new();
    for _ in 0..calls {
        changed.push(watcher.next().await.unwrap().is_some());
    }
    let asked = script.asked.lock().unwrap().clone();
    (changed, asked)
}

#[tokio::test(start_paused = true)]
async fn only_a_change_is_returned() {
    let (changed, asked) = follow(&[(5, "x"), (5, "x"), (9, "x"), (12, "y")], 4).await;
    assert_eq!(changed, [true, false, false, true]);
    assert_eq!(asked, [None, Some(5), Some(5), Some(9)]);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_goes_backwards_starts_anew() {
    let (changed, asked) = follow(&[(50, "x"), (7, "x"), (7, "y"), (8, "z")], 3).await;
    assert_eq!(changed, [true, true, true]);
    assert_eq!(asked, [None, Some(50), None, Some(7)]);
}

#[tokio::test(start_paused = true)]
async fn an_index_of_zero_is_not_waited_from() {
    let (_, asked) = follow(&[(0, "x"), (0, "x")], 2).await;
    assert_eq!(asked, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn reads_have_an_interval() {
    let start = Instant::now();
    let _ = follow(&[(1, "a"), (2, "b"), (3, "c")], 3).await;
    let least = (MIN_INTERVAL + INTERVAL_BY_ENTRY) * 2;
    // The clock of tests goes by milliseconds.
    assert!((least..least + Duration::from_millis(4)).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_failure_loses_no_change() {
    let consul = MemoryConsul::new();
    let node = crate::model::NodeName::parse("node1").unwrap();
    let client: Arc<dyn Kv> = Arc::new(consul.client(&node));
    let mut watcher = Watcher::new(client.clone(), "app/", Duration::from_secs(60));
    assert!(watcher.next().await.unwrap().unwrap().is_empty());
    consul.set_reachable(&node, false);
    assert!(watcher.next().await.unwrap_err().is_transient());
    let others: &dyn Kv = &consul;
    others.put_cas("app/a", b"1".to_vec(), 0).await.unwrap();
    consul.set_reachable(&node, true);
    assert_eq!(watcher.next().await.unwrap().unwrap().len(), 1);
    assert!(watcher.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_is_read_once_and_shared() {
    let consul = MemoryConsul::new();
    let kv: Arc<dyn Kv> = Arc::new(consul.clone());
    for key in ["app/a", "app/b", "app/c"] {
        kv.put_cas(key, b"1".to_vec(), 0).await.unwrap().unwrap();
    }
    let wait = Duration::from_secs(1);
    let mut watcher = Watcher::reading(kv.clone(), "app/", wait, |entry| entry.value);
    let first = watcher.next().await.unwrap().unwrap();
    let b = kv.get("app/b").await.unwrap().unwrap();
    kv.put_cas("app/b", b"2".to_vec(), b.modify_index).await.unwrap().unwrap();
    kv.delete("app/a").await.unwrap();
    kv.put_cas("app/d", b"4".to_vec(), 0).await.unwrap().unwrap();
    let second = watcher.next().await.unwrap().unwrap();
    assert_eq!(second.iter().map(|value| value[0]).collect::<Vec<_>>(), *b"214");
    assert!(Arc::ptr_eq(&first[2], &second[1]), "app/c");
    assert!(watcher.next().await.unwrap().is_none());
}
