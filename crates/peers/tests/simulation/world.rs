//! A network of servers and clients in simulated time: queues, delays, advertisements that are late, servers that die and come back.
//!
//! Nothing sleeps and nothing is sent: events stand in a heap by their time, and all chance comes from one seed, so that a run is the same every time. The code that chooses is the
//! crate's own. What is compared is `policy.rs`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use libp2p_identity::PeerId;
use llm_router_peers::record::{Load, Model, Record};
use tokio::time::Instant;

use super::policy::{Client, Held, Policy};

pub(crate) const MODEL: &str = "m";
/// Requests that a server answers at once; as many may wait.
pub(crate) const SLOTS: u16 = 16;
/// The mean time of an answer's first token and of the rest, in seconds.
const FIRST: f64 = 0.2;
const REST: f64 = 2.0;
/// What is left of the first of these at a server that knows the prompt's beginning.
const KNOWN: f64 = 0.3;
/// Beginnings that a server remembers.
const REMEMBERED: usize = 32;
const MOST_ATTEMPTS: usize = 3;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: usize,
    pub(crate) clients: usize,
    /// Which part of all slots is wanted.
    pub(crate) utilisation: f64,
    /// How long it goes on, and from when on is looked at what comes out.
    pub(crate) seconds: f64,
    pub(crate) warm: f64,
    /// Seconds after which a server dies, on average; it comes back after a minute, on average. None for no churn.
    pub(crate) lifetime: Option<f64>,
    /// The longest that a server says nothing, in seconds; it speaks before where its load changed by a quarter, fifteen seconds after it last did.
    pub(crate) silence: f64,
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn new(servers: usize, clients: usize) -> Self {
        Self { servers, clients, utilisation: 0.7, seconds: 60.0, warm: 30.0, lifetime: None, silence: 240.0, seed: 7 }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) requests: usize,
    /// Requests that no server took.
    pub(crate) failed: usize,
    pub(crate) attempts: usize,
    /// Seconds to the first token.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The busiest server's load by the mean load, on average over looks once a second, and the largest of these.
    pub(crate) max_to_mean: f64,
    pub(crate) worst: f64,
    /// Part of the requests that came to a server which knew their beginning.
    pub(crate) known: f64,
    /// Attempts at a dead server by clients that had failed there since it died.
    pub(crate) repeated: usize,
    /// Attempts at a dead server by clients that could not know.
    pub(crate) at_dead: usize,
}

struct Server {
    record: Record,
    up: bool,
    /// Who is answered and who waits.
    running: HashSet<usize>,
    queue: VecDeque<usize>,
    beginnings: VecDeque<u64>,
    /// How much slower than others.
    slowness: f64,
    said_at: f64,
    said: usize,
    /// Clients that failed here since it died.
    failed_for: HashSet<usize>,
}

impl Server {
    fn load(&self) -> usize {
        self.running.len() + self.queue.len()
    }
}

struct Job {
    client: usize,
    prefix: u64,
    asked: f64,
    tried: Vec<usize>,
    held: Held,
    first_at: f64,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Ask,
    Arrive { job: usize, server: usize },
    First { job: usize, server: usize, incarnation: u64 },
    Done { job: usize, server: usize, incarnation: u64 },
    Fail { job: usize, server: usize },
    Say { server: usize },
    Die { server: usize },
    Return { server: usize },
    Look,
}

pub(crate) struct World {
    plan: Plan,
    began: Instant,
    now: f64,
    rng: Rng,
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Event>,
    sequence: u64,
    servers: Vec<Server>,
    clients: Vec<Client>,
    jobs: Vec<Job>,
    numbers: HashMap<PeerId, usize>,
    times: Vec<f64>,
    looks: Vec<f64>,
    known: usize,
    report: Report,
}

fn id(number: usize) -> PeerId {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    PeerId::from_multihash(multihash::Multihash::wrap(0x12, &digest).unwrap()).unwrap()
}

impl World {
    pub(crate) fn new(plan: Plan, policy: Policy) -> Self {
        let (began, mut rng) = (Instant::now(), Rng::with_seed(plan.seed));
        let ids: Vec<PeerId> = (0..plan.servers).map(id).collect();
        let servers = (0..plan.servers).map(|number| {
            let mut record = Record::new(ids[number], 1, 0, SystemTime::UNIX_EPOCH);
            record.addresses = vec![format!("/ip4/10.{}.{}.7/tcp/1", number >> 8, number & 255).parse().unwrap()];
            let slowness = 0.8 + 0.4 * rng.f64();
            let mut model = Model::new(MODEL, 8192, SLOTS);
            model.first_token_ms = Some((FIRST * slowness * 1000.0) as u32);
            model.tokens_per_second = Some((99.0 / (REST * slowness)) as u32);
            record.models = vec![model];
            Server {
                record,
                up: true,
                running: HashSet::new(),
                queue: VecDeque::new(),
                beginnings: VecDeque::new(),
                slowness,
                said_at: f64::MIN,
                said: 0,
                failed_for: HashSet::new(),
            }
        });
        let servers = servers.collect();
        let mut clients: Vec<Client> = (0..plan.clients)
            .map(|client| Client::new(policy, plan.servers, &ids, rng.u64(..) ^ client as u64, began))
            .collect();
        let mut world = Self {
            numbers: ids.iter().enumerate().map(|(number, id)| (*id, number)).collect(),
            clients: Vec::new(),
            began,
            now: 0.0,
            rng,
            heap: BinaryHeap::new(),
            events: Vec::new(),
            sequence: 0,
            servers,
            jobs: Vec::new(),
            times: Vec::new(),
            looks: Vec::new(),
            known: 0,
            report: Report::default(),
            plan,
        };
        std::mem::swap(&mut world.clients, &mut clients);
        for server in 0..plan.servers {
            world.say(server);
            // They did not all begin at once.
            world.servers[server].said_at = -15.0 * world.rng.f64();
            for client in 0..plan.clients {
                let rtt = world.rtt(client, server);
                world.clients[client].saw_rtt(server, Duration::from_secs_f64(rtt));
            }
            let first = world.rng.f64() * plan.silence;
            world.at(first, Event::Say { server });
            if let Some(lifetime) = plan.lifetime {
                let after = world.exponential(lifetime);
                world.at(after, Event::Die { server });
            }
        }
        world.at(0.0, Event::Ask);
        world.at(plan.warm, Event::Look);
        world
    }

    pub(crate) fn run(mut self) -> Report {
        while let Some(Reverse((micros, _, event))) = self.heap.pop() {
            self.now = micros as f64 / 1e6;
            if self.now > self.plan.seconds {
                break;
            }
            match self.events[event] {
                Event::Ask => self.ask(),
                Event::Arrive { job, server } => self.arrive(job, server),
                Event::First { job, server, incarnation } if self.is_there(server, incarnation) => {
                    self.first(job, server)
                }
                Event::Done { job, server, incarnation } if self.is_there(server, incarnation) => {
                    self.done(job, server)
                }
                Event::First { .. } | Event::Done { .. } => {}
                Event::Fail { job, server } => self.fail(job, server),
                Event::Say { server } => self.speak(server),
                Event::Die { server } => self.die(server),
                Event::Return { server } => self.come_back(server),
                Event::Look => self.look(),
            }
        }
        self.times.sort_by(f64::total_cmp);
        let part = |part: f64| self.times.get((self.times.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
        self.report.p50 = part(0.5);
        self.report.p99 = part(0.99);
        self.report.max_to_mean = self.looks.iter().sum::<f64>() / self.looks.len() as f64;
        self.report.worst = self.looks.iter().copied().fold(0.0, f64::max);
        self.report.known = self.known as f64 / self.times.len().max(1) as f64;
        self.report
    }

    fn at(&mut self, time: f64, event: Event) {
        self.sequence += 1;
        self.events.push(event);
        self.heap.push(Reverse(((time * 1e6) as u64, self.sequence, self.events.len() - 1)));
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_secs_f64(self.now)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.rng.f64()).ln()
    }

    /// Seconds there and back, always the same between two: log-normal about 30 ms.
    fn rtt(&self, client: usize, server: usize) -> f64 {
        let mut rng = Rng::with_seed((client as u64) << 32 | server as u64 | self.plan.seed << 56);
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        0.03 * (0.6 * normal).exp()
    }

    fn is_there(&self, server: usize, incarnation: u64) -> bool {
        let server = &self.servers[server];
        server.up && server.record.incarnation == incarnation
    }

    fn ask(&mut self) {
        let all = (self.plan.servers * usize::from(SLOTS)) as f64;
        let mean = self.exponential((FIRST + REST) / (all * self.plan.utilisation));
        self.at(self.now + mean, Event::Ask);
        let client = self.rng.usize(..self.plan.clients);
        // Few beginnings are common, many are rare.
        let prefix = (self.rng.f64().powi(3) * self.plan.servers as f64 * 8.0) as u64;
        let (asked, tried) = (self.now, Vec::new());
        self.jobs.push(Job { client, prefix, asked, tried, held: Held::Nothing, first_at: 0.0, done: false });
        self.report.requests += 1;
        self.attempt(self.jobs.len() - 1);
    }

    fn attempt(&mut self, job: usize) {
        let (now, numbers) = (self.instant(), &self.numbers);
        let one = &mut self.jobs[job];
        let client = one.client;
        let picked = match one.tried.len() < MOST_ATTEMPTS {
            true => self.clients[client].pick(one.prefix, &one.tried, now, |id| numbers[id]),
            false => None,
        };
        let Some((server, held)) = picked else {
            one.done = true;
            self.report.failed += 1;
            return;
        };
        one.held = held;
        one.tried.push(server);
        self.report.attempts += 1;
        if !self.servers[server].up {
            match self.servers[server].failed_for.contains(&client) {
                true => self.report.repeated += 1,
                false => self.report.at_dead += 1,
            }
        }
        self.at(self.now + self.rtt(client, server) / 2.0, Event::Arrive { job, server });
    }

    fn arrive(&mut self, job: usize, server: usize) {
        let back = self.now + self.rtt(self.jobs[job].client, server) / 2.0;
        let there = &mut self.servers[server];
        if !there.up || there.load() >= 2 * usize::from(SLOTS) {
            return self.at(back, Event::Fail { job, server });
        }
        there.queue.push_back(job);
        self.serve(server);
        let (load, now) = (self.servers[server].load() as u32, self.instant());
        self.clients[self.jobs[job].client].saw_load(server, load, now);
    }

    /// Begins to answer whoever waits and has a slot.
    fn serve(&mut self, server: usize) {
        while self.servers[server].running.len() < usize::from(SLOTS) {
            let there = &mut self.servers[server];
            let Some(job) = there.queue.pop_front() else { return };
            there.running.insert(job);
            let prefix = self.jobs[job].prefix;
            let known = there.beginnings.contains(&prefix);
            there.beginnings.retain(|other| *other != prefix);
            there.beginnings.push_back(prefix);
            if there.beginnings.len() > REMEMBERED {
                there.beginnings.pop_front();
            }
            let (slowness, incarnation) = (there.slowness, there.record.incarnation);
            self.known += usize::from(known);
            let first = self.now + FIRST * slowness * if known { KNOWN } else { 1.0 };
            let done = first + self.exponential(REST * slowness);
            self.at(first, Event::First { job, server, incarnation });
            self.at(done, Event::Done { job, server, incarnation });
        }
    }

    fn first(&mut self, job: usize, server: usize) {
        let (now, one) = (self.instant(), &mut self.jobs[job]);
        one.first_at = self.now;
        let half = Duration::from_secs_f64(self.rng.f64() * 1e-6);
        self.clients[one.client].first_token(&mut one.held, now + half);
        let took = self.now - one.asked + self.rtt(self.jobs[job].client, server) / 2.0;
        if self.jobs[job].asked > self.plan.warm {
            self.times.push(took);
        }
    }

    fn done(&mut self, job: usize, server: usize) {
        self.servers[server].running.remove(&job);
        let (now, one) = (self.instant(), &mut self.jobs[job]);
        one.done = true;
        let held = std::mem::replace(&mut one.held, Held::Nothing);
        self.clients[one.client].answered(held, Duration::from_secs_f64(self.now - one.first_at), now);
        self.serve(server);
        self.speak_if_changed(server);
    }

    /// The client learns that its attempt came to nothing.
    fn fail(&mut self, job: usize, server: usize) {
        let (now, one) = (self.instant(), &mut self.jobs[job]);
        let held = std::mem::replace(&mut one.held, Held::Nothing);
        let client = one.client;
        if self.servers[server].up {
            self.clients[client].busy(server, held, now);
        } else {
            self.servers[server].failed_for.insert(client);
            self.clients[client].unreachable(server, held, now);
        }
        match self.jobs[job].first_at > 0.0 {
            true => self.jobs[job].done = true,
            false => self.attempt(job),
        }
    }

    fn speak(&mut self, server: usize) {
        if self.servers[server].up && self.now - self.servers[server].said_at >= 15.0 {
            self.say(server);
        }
        let next = self.plan.silence * (0.8 + 0.4 * self.rng.f64());
        self.at(self.now + next, Event::Say { server });
    }

    fn speak_if_changed(&mut self, server: usize) {
        let there = &self.servers[server];
        let changed = there.load().abs_diff(there.said) * 4 >= usize::from(SLOTS);
        if changed && self.now - there.said_at >= 15.0 {
            self.say(server);
        }
    }

    fn say(&mut self, server: usize) {
        let there = &mut self.servers[server];
        let (running, waiting) = (there.running.len() as u32, there.queue.len() as u32);
        there.record.sequence += 1;
        there.record.load = Load::new(running, waiting);
        (there.said_at, there.said) = (self.now, there.load());
        let now = self.began + Duration::from_secs_f64(self.now);
        self.clients.iter_mut().for_each(|client| client.hear(server, &there.record, now));
    }

    /// Its requests break off, and nothing of it is heard.
    fn die(&mut self, server: usize) {
        let there = &mut self.servers[server];
        there.up = false;
        there.failed_for.clear();
        let mut cut: Vec<usize> = there.running.drain().chain(there.queue.drain(..)).collect();
        cut.sort_unstable();
        for job in cut {
            let after = self.rtt(self.jobs[job].client, server) / 2.0;
            self.at(self.now + after, Event::Fail { job, server });
        }
        let after = self.exponential(60.0) + 1.0;
        self.at(self.now + after, Event::Return { server });
    }

    fn come_back(&mut self, server: usize) {
        let there = &mut self.servers[server];
        there.up = true;
        there.record.incarnation += 1;
        there.beginnings.clear();
        self.say(server);
        let lifetime = self.exponential(self.plan.lifetime.unwrap_or(f64::MAX));
        self.at(self.now + lifetime, Event::Die { server });
    }

    fn look(&mut self) {
        let loads = self.servers.iter().filter(|server| server.up).map(|server| server.load() as f64);
        let (count, sum, max) =
            loads.fold((0.0, 0.0, 0.0_f64), |(n, sum, max), load| (n + 1.0, sum + load, max.max(load)));
        self.looks.push(max * count / f64::max(sum, 1.0));
        self.at(self.now + 1.0, Event::Look);
    }
}
