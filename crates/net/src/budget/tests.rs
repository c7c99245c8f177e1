//! Tests of the request memory.

use std::sync::atomic::AtomicU32;
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn all_but_one_wait_above_the_limit() {
    let budget = Budget::new(100);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut grow = |charge: &mut Charge, bytes| charge.poll_grow(&mut cx, bytes).is_ready();
    let (mut one, mut two, mut three) = (budget.charge(), budget.charge(), budget.charge());
    assert!(grow(&mut one, 60) && grow(&mut two, 40));
    assert_eq!(budget.used_bytes(), 100);
    // The first to go beyond may go on, as far as it needs.
    assert!(grow(&mut one, 90) && grow(&mut one, 500));
    assert!(!grow(&mut two, 41) && !grow(&mut three, 1) && !grow(&mut three, 1));
    assert!(grow(&mut two, 40));
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    drop(one);
    assert_eq!(budget.used_bytes(), 40);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(grow(&mut two, 100) && grow(&mut three, 30));
    three.set(10);
    assert_eq!(budget.used_bytes(), 110);
    let mut four = budget.charge();
    assert!(!grow(&mut four, 1));
    drop(three);
    assert!(grow(&mut four, 1));
    drop((two, four));
    assert_eq!(budget.used_bytes(), 0);
    assert_eq!(budget.state.waiting.load(Ordering::SeqCst), 0);
}
