//! The processes, and what is done to them.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use es_core::{ConsumerName, ConsumerStore, EventStore};
use es_sqlite::SqliteStore;
use es_testkit::SeededRng;
use tokio::{sync::Mutex, time::sleep};

/// How many orders there are, unless `ES_ORDERS` says it.
const ORDERS: u64 = 20_000;
const SECONDS: u64 = 8;
/// Without any progress for so long, a test fails. A broker that was killed takes its time.
const STALL: Duration = Duration::from_secs(120);

/// Longest time for which a broker stays away.
const LONGEST_ABSENCE_MS: u64 = 700;

/// One after the other: each has four processes.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A broker that can be disturbed.
pub(crate) trait Disturbed {
    /// Where it is.
    fn url(&self) -> String;

    /// Longest time between two kills of shipping processes.
    fn longest_peace(&self) -> Duration {
        Duration::from_millis(900)
    }

    /// For how many seconds things are killed, unless `ES_SOAK_SECONDS` says it.
    fn seconds(&self) -> u64 {
        SECONDS
    }

    /// Kills it and starts it again, or cuts its connections for a while.
    async fn disturb(&mut self, random: &SeededRng);
}

/// While a broker is away.
pub(crate) async fn away(random: &SeededRng) {
    sleep(Duration::from_millis(random.below(LONGEST_ABSENCE_MS))).await;
}

/// A process that is killed and started again.
struct Service {
    arguments: Vec<String>,
    child: Child,
    kills: u32,
}

impl Service {
    fn start(arguments: &[&str], broker: &str) -> Self {
        let arguments: Vec<String> = arguments.iter().copied().chain(["--broker", broker]).map(str::to_owned).collect();
        let child = Self::spawn(&arguments);
        Self { arguments, child, kills: 0 }
    }

    fn spawn(arguments: &[String]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command.spawn().expect("the process starts")
    }

    /// SIGKILL, and another one in its place.
    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
        self.kills += 1;
        self.child = Self::spawn(&self.arguments);
    }

    /// One that ended by itself, because the broker was away when it started, is started again, as a supervisor would.
    fn look_after(&mut self) {
        if self.child.try_wait().expect("its state").is_some() {
            self.child = Self::spawn(&self.arguments);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("orders-kills-{}-{}", std::process::id(), rand_name()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn store(&self, name: &str) -> String {
        format!("sqlite:{}", self.0.join(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rand_name() -> u64 {
    SeededRng::from_env().next() & 0xFFFF_FFFF
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn open(folder: &Folder, name: &str) -> SqliteStore {
    SqliteStore::open(folder.0.join(name)).await.expect("the store opens")
}

async fn head(store: &SqliteStore) -> u64 {
    store.head().await.expect("the head").get()
}

/// What the command `totals` prints of the two logs.
fn totals(folder: &Folder) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_orders"))
        .args(["totals", "--shop", &folder.store("shop.db"), "--shipping", &folder.store("shipping.db")])
        .output()
        .expect("totals runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.split_once(": ")).map(|(_, totals)| totals.to_owned()).collect()
}

pub(crate) async fn each_order_is_shipped_once(mut broker: impl Disturbed) {
    let _alone = ALONE.lock().await;
    let random = SeededRng::from_env();
    let (orders, seconds) = (number("ES_ORDERS", ORDERS), number("ES_SOAK_SECONDS", broker.seconds()));
    let folder = Folder::new();
    let (shop_store, shipping_store) = (open(&folder, "shop.db").await, open(&folder, "shipping.db").await);
    let (shop, shipping) = (folder.store("shop.db"), folder.store("shipping.db"));
    let (count, url) = (orders.to_string(), broker.url());
    let begun = Instant::now();
    let mut services = vec![
        Service::start(&["shop", "--store", &shop, "--orders", &count], &url),
        Service::start(&["shipping", "--store", &shipping], &url),
        Service::start(&["shipping", "--store", &shipping], &url),
    ];

    let mut disturbances = 0;
    let longest = u64::try_from(broker.longest_peace().as_millis()).expect("short");
    // Each at least once, whatever chance says.
    while begun.elapsed() < Duration::from_secs(seconds)
        || disturbances == 0
        || services.iter().any(|service| service.kills == 0)
    {
        sleep(Duration::from_millis(100 + random.below(longest))).await;
        match random.below(4) {
            0 => {
                disturbances += 1;
                broker.disturb(&random).await;
            }
            victim => services[usize::try_from(victim).expect("small") - 1].kill(),
        }
        services.iter_mut().for_each(Service::look_after);
    }

    let relay = ConsumerName::new("orders_out").expect("a name");
    let (mut seen, mut moved_at) = (String::new(), Instant::now());
    loop {
        services.iter_mut().for_each(Service::look_after);
        let (placed, shipped) = (head(&shop_store).await, head(&shipping_store).await);
        let published = shop_store.checkpoint(&relay).await.expect("the checkpoint").map_or(0, |at| at.position.get());
        if placed == orders && published == placed && shipped >= orders {
            break;
        }
        let state = format!("{placed} placed, {published} published, {shipped} shipped of {orders}");
        if state != seen {
            (seen, moved_at) = (state, Instant::now());
        }
        assert!(moved_at.elapsed() < STALL, "no progress in {STALL:?}: {seen}");
        sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed();
    // What would be shipped twice is on its way by now.
    sleep(Duration::from_secs(1)).await;
    let kills: Vec<u32> = services.iter().map(|service| service.kills).collect();
    drop(services);
    let totals = totals(&folder);
    println!(
        "{}: {orders} orders in {:.1} s; kills of the shop and of the two shipping processes: {kills:?}, of the broker or its \
         connections: {disturbances}; {}",
        broker.url().split(':').next().unwrap_or_default(),
        took.as_secs_f64(),
        totals[1],
    );
    assert_eq!(totals[0], totals[1], "what was shipped is not what was ordered");
    assert!(totals[1].starts_with(&format!("{orders} orders, ")) && totals[1].ends_with(&format!(" {orders} events")));
}
