//! A private network for a test, whose machines can be cut off from each other: network namespaces
//! on two bridges, one between hubs and NATS and one between clients and hubs.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// Tells a test that it runs in its private network.
const INSIDE: &str = "TIDINGS_TEST_NETWORK";
/// Makes a test that can't be done a failure.
const MUST: &str = "TIDINGS_MUST_PARTITION";

/// Runs the calling test, which has this name, again in a private network, and returns whether
/// this is that run. Everything created there ends with it.
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let namespaces =
        [&["--net", "--mount"][..], &["--user", "--map-root-user", "--net", "--mount"][..]];
    // Names of network namespaces are files in /run/netns.
    let begin = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && \
                 ip link add trial type bridge && ip link del trial";
    let works = |flags: &&&[&str]| {
        let mut trial = Command::new("unshare");
        trial.args(flags.iter()).args(["sh", "-c", begin]);
        trial.status().is_ok_and(|status| status.success())
    };
    let Some(flags) = namespaces.iter().find(works) else {
        assert!(std::env::var_os(MUST).is_none(), "no network namespaces can be made here");
        println!("skipped: this system lets us make no network namespaces");
        return false;
    };
    let output = Command::new("unshare")
        .args(flags.iter())
        .args(["sh", "-c", &format!("{begin} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("the tests' own program"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("util-linux has unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{test} is no test");
    false
}

/// The bridges, by the first three numbers of their addresses.
const BRIDGES: [(&str, [u8; 3]); 2] = [("inner", [10, 77, 0]), ("outer", [10, 78, 0])];

/// Which network of a machine.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// Hubs and NATS servers among each other.
    Inner,
    /// Clients and hubs.
    Outer,
}

/// A machine by its number, which has an address on both networks.
#[derive(Clone, Copy)]
pub(crate) struct Machine(u8);

impl Machine {
    pub(crate) fn address(self, side: Side) -> IpAddr {
        let [a, b, c] = BRIDGES[side as usize].1;
        IpAddr::V4(Ipv4Addr::new(a, b, c, self.0))
    }

    /// The words that start a command on it.
    pub(crate) fn prefix(self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name()].map(str::to_owned).to_vec()
    }

    fn name(self) -> String {
        format!("m{}", self.0)
    }

    /// Cuts it off from one of the networks: packets from it and to it are lost.
    pub(crate) fn cut_off(self, side: Side) {
        run(&format!("ip link set {} down", self.end(side)));
    }

    pub(crate) fn join(self, side: Side) {
        run(&format!("ip link set {} up", self.end(side)));
    }

    /// The bridge's end of its cable.
    fn end(self, side: Side) -> String {
        format!("{}-{}", BRIDGES[side as usize].0, self.0)
    }
}

/// Creates machines, if the test [`is_inside`].
pub(crate) fn machines<const COUNT: usize>() -> [Machine; COUNT] {
    for (bridge, [a, b, c]) in BRIDGES {
        run(&format!("ip link add {bridge} type bridge"));
        run(&format!("ip link set {bridge} up"));
        run(&format!("ip addr add {a}.{b}.{c}.1/24 dev {bridge}"));
    }
    let mut number = 10;
    [(); COUNT].map(|()| {
        number += 1;
        let machine = Machine(number);
        let name = machine.name();
        run(&format!("ip netns add {name}"));
        run(&format!("ip -n {name} link set lo up"));
        for side in [Side::Inner, Side::Outer] {
            let (bridge, _) = BRIDGES[side as usize];
            let (end, address) = (machine.end(side), machine.address(side));
            run(&format!("ip link add {end} type veth peer name {bridge} netns {name}"));
            run(&format!("ip -n {name} addr add {address}/24 dev {bridge}"));
            run(&format!("ip -n {name} link set {bridge} up"));
            run(&format!("ip link set {end} master {bridge} up"));
        }
        machine
    })
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().expect("iproute2 is there");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
