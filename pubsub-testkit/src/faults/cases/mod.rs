//! All cases, in the order in which they run.

mod after;
mod alarm;
mod broadcasts;
mod calls;
mod deleted;
mod flow;
mod handlers;
mod leases;
mod members;
mod order;
mod outage;
mod paused;
mod slow;
mod start;
mod tools;

use super::FaultCase;

/// Every case of the suite.
pub fn cases() -> Vec<FaultCase> {
    [
        flow::CASES,
        calls::CASES,
        outage::CASES,
        members::CASES,
        handlers::CASES,
        leases::CASES,
        slow::CASES,
        paused::CASES,
        deleted::CASES,
        after::CASES,
        start::CASES,
        alarm::CASES,
        order::CASES,
        broadcasts::CASES,
    ]
    .concat()
}
