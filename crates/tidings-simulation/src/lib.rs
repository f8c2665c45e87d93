//! A simulator of the whole hub: the real code runs on one thread, and one seed decides the
//! schedule, the clock, the sockets, the disk and the workload.

pub mod journals;
