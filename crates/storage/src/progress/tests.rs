//! Who is woken, and that who went away is forgotten.

use super::*;

#[tokio::test]
async fn one_listener_hears_the_first_of_many() {
    let (left, right) = (Progress::new(), Progress::new());
    let listener = Listener::new();
    left.listen(&listener);
    right.listen(&listener);
    assert!(!listener.heard());
    right.moved();
    listener.wait().await;
    listener.reset();
    left.moved();
    assert!(listener.heard(), "still listening where nothing had moved");
    listener.reset();
    right.moved();
    assert!(!listener.heard(), "listening ends with the first move");
}

#[tokio::test]
async fn waiting_tasks_are_woken() {
    let progress = Arc::new(Progress::new());
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let listener = Listener::new();
            progress.listen(&listener);
            tokio::spawn(async move { listener.wait().await })
        })
        .collect();
    tokio::task::yield_now().await;
    progress.moved();
    for task in waiting {
        task.await.unwrap();
    }
}

#[test]
fn listeners_that_went_away_are_forgotten() {
    let progress = Progress::new();
    let staying = Listener::new();
    progress.listen(&staying);
    for _ in 0..10_000 {
        progress.listen(&Listener::new());
    }
    assert!(progress.listeners.lock().len() <= 2 * SWEEP_MIN);
    progress.moved();
    assert!(staying.heard());
    assert!(progress.listeners.lock().is_empty());
}
