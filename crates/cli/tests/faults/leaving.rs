//! A client that goes away ends the work behind its request, in every dialect.

use llm_router::testing::faults::Act;
use llm_router::testing::voice::Voice;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::cases::{Case, Outcome};
use crate::client::{question, send};
use crate::service::PATIENCE;
use crate::{Stage, id, scaled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_ends_the_work_behind_it() {
    let stalls = Case::new("stalls-for-ever", || vec![Act::StallAfter(20, scaled(36_000.0))], Outcome::Answer, [1, 0]);
    let silent = Case::new("silent-for-ever", || vec![Act::Silence], Outcome::Answer, [1, 0]);
    for client in Voice::ALL {
        let scene = Stage::of(&[&stalls, &silent], &Voice::ALL, "").await.real();
        for upstream in Voice::ALL {
            for (case, streamed) in [(&stalls, true), (&silent, true), (&stalls, false), (&silent, false)] {
                let before = scene.faults.asked(case.name, upstream);
                let (path, body) = question(client, streamed, &format!("route-{}", id(case, upstream)));
                let mut socket = send(scene.address, &path, &body).await;
                let asked = scene.faults.until(case.name, upstream, |asked| asked.requests > before.requests);
                timeout(PATIENCE, asked).await.unwrap();
                if streamed && case.name == stalls.name {
                    // In the middle of the answer.
                    let mut heard = Vec::new();
                    while !String::from_utf8_lossy(&heard).contains("w19") {
                        assert!(socket.read_buf(&mut heard).await.unwrap() > 0);
                    }
                }
                drop(socket);
                let left =
                    scene.faults.until(case.name, upstream, |asked| asked.left > before.left && asked.running == 0);
                timeout(PATIENCE, left)
                    .await
                    .unwrap_or_else(|_| panic!("{client:?} before {upstream:?}, {}", case.name));
            }
        }
        assert_eq!(scene.faults.running(), 0);
    }
}
