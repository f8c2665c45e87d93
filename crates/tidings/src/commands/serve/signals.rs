//! The signals that stop or reload a hub.

#[cfg(not(unix))]
pub(super) use elsewhere::{Hangup, Stop};
#[cfg(unix)]
pub(in super::super) use unix::is_hangup_ignored;
#[cfg(unix)]
pub(super) use unix::{Hangup, Stop};

/// What a `SIGHUP` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The hub should reload its configuration.
    Reload,
    /// The terminal from which the hub was started was closed.
    TerminalLost,
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::future::pending;
    use std::io::{self, IsTerminal as _};
    use std::time::Duration;

    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

    use super::Cause;

    /// How long after `SIGHUP` the terminal is checked a second time: a shell that ends its jobs
    /// sends the signal before the terminal is closed.
    const SECOND_LOOK: Duration = Duration::from_secs(2);

    /// How often the terminal is checked.
    const LOOK: Duration = Duration::from_secs(1);

    /// The signals that stop the hub.
    pub(in super::super) struct Stop {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Stop {
        pub(in super::super) fn listen() -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }

        pub(in super::super) async fn wait(&mut self) {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        }
    }

    /// `SIGHUP`. An operator sends it to reload the configuration. The system also sends it to
    /// every program whose terminal is closed. Then the hub stops, because otherwise it would go
    /// on unnoticed and keep its port and journal. Under `nohup` it does not stop.
    pub(in super::super) struct Hangup {
        signal: Signal,
        terminal: Terminal,
        second_look: Option<Instant>,
        /// The timer of the checks of the terminal.
        looks: Interval,
        lost_since: Option<Instant>,
    }

    impl Hangup {
        pub(in super::super) fn listen() -> io::Result<Self> {
            // Listening for the signal replaces ignoring it, so this is read first.
            let terminal =
                if is_hangup_ignored() { Terminal::default() } else { Terminal::present() };
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let signal = signal(SignalKind::hangup())?;
            Ok(Self { signal, terminal, second_look: None, looks, lost_since: None })
        }

        /// # Cancel safety
        /// No signal is lost if the future is dropped.
        pub(in super::super) async fn wait(&mut self) -> Cause {
            loop {
                let second_look = async {
                    match self.second_look {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    _ = self.signal.recv() => {
                        if self.terminal.is_lost() {
                            return Cause::TerminalLost;
                        }
                        self.second_look = Some(Instant::now() + SECOND_LOOK);
                        return Cause::Reload;
                    }
                    _ = self.looks.tick(), if self.terminal.is_any() => self.look(),
                    () = second_look => {
                        self.second_look = None;
                        if self.terminal.is_lost() {
                            return Cause::TerminalLost;
                        }
                    }
                }
            }
        }
    }

    impl Hangup {
        /// Notices a terminal that was closed without a signal, as happens to a background job
        /// whose shell exits. From then on `SIGHUP` can only mean a reload.
        fn look(&mut self) {
            if !self.terminal.is_lost() {
                self.lost_since = None;
                return;
            }
            let since = *self.lost_since.get_or_insert_with(Instant::now);
            // A signal, if any, arrives when the terminal is closed, or just before.
            if since.elapsed() > SECOND_LOOK {
                self.terminal = Terminal::default();
                self.second_look = None;
                tracing::info!("the terminal was closed without a signal; the hub continues");
            }
        }
    }

    /// The connections of a process to a terminal.
    #[derive(Clone, Copy, Debug, Default)]
    struct Terminal {
        controls: bool,
        streams: [bool; 3],
    }

    impl Terminal {
        fn present() -> Self {
            Self {
                controls: File::open("/dev/tty").is_ok(),
                streams: [
                    io::stdin().is_terminal(),
                    io::stdout().is_terminal(),
                    io::stderr().is_terminal(),
                ],
            }
        }

        fn is_any(&self) -> bool {
            self.controls || self.streams.contains(&true)
        }

        /// Whether a connection to the terminal was lost.
        fn is_lost(&self) -> bool {
            let now = Self::present();
            let is_lost = |was: bool, is: bool| was && !is;
            is_lost(self.controls, now.controls)
                || self.streams.iter().zip(now.streams).any(|(was, is)| is_lost(*was, is))
        }
    }

    /// Whether the process was started with `SIGHUP` ignored, as `nohup` does.
    #[cfg(target_os = "linux")]
    pub(in super::super::super) fn is_hangup_ignored() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_some_and(|mask| mask & (1 << (libc::SIGHUP - 1)) != 0)
    }

    /// Other systems have no safe way to ask. `nohup` leaves no stream on the terminal.
    #[cfg(not(target_os = "linux"))]
    pub(in super::super::super) fn is_hangup_ignored() -> bool {
        Terminal::present().streams == [false; 3]
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::future::pending;
    use std::io;

    use super::Cause;

    /// Ctrl-C, which stops the hub.
    pub(in super::super) struct Stop;

    impl Stop {
        pub(in super::super) fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in super::super) async fn wait(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// `SIGHUP`, which only Unix has.
    pub(in super::super) struct Hangup;

    impl Hangup {
        pub(in super::super) fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in super::super) async fn wait(&mut self) -> Cause {
            pending().await
        }
    }
}
