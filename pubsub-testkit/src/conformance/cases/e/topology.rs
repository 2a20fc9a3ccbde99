//! What is declared is held against what exists: looking, creating, changing.

use std::time::Duration;

use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, GroupName, Retention, StartPosition,
    driver::{ChannelSpec, Feature, Topology, TopologyMode, TopologyReport},
};

use crate::{
    conformance::{Case, Ctx, Verdict, ensure, failed, refused, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "E-validate",
        title: "validating a channel and a group that are missing names them, and makes neither",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::SilentUnsupported, Fault::StrictIgnored],
        run: |ctx| Box::pin(validated(ctx)),
    },
    Case {
        id: "E-mismatch",
        title: "a channel that is not as declared is named field by field, and stays as it is",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        bites: &[Fault::OrderForgotten, Fault::RetentionIgnored],
        run: |ctx| Box::pin(mismatched(ctx)),
    },
    Case {
        id: "E-update",
        title: "an update changes the retention and says so, or says that it must stay",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::RetentionIgnored, Fault::SilentUnsupported],
        run: |ctx| Box::pin(updated(ctx)),
    },
];

const HOUR: Duration = Duration::from_secs(3_600);

fn kept(hours: u32) -> ChannelPolicy {
    ChannelPolicy::new().retention(Retention::default().age(HOUR * hours))
}

/// What a process of its own finds, which has not seen the channel before.
async fn found(ctx: &Ctx, mode: TopologyMode, spec: ChannelSpec) -> Verdict<pubsub_core::Result<TopologyReport>> {
    let bus = ctx.bus().await?;
    Ok(bus.ensure(&Topology::new(mode).channel(spec)).await)
}

fn spec(channel: &ChannelName, policy: ChannelPolicy) -> ChannelSpec {
    ChannelSpec::new(channel.clone(), policy)
}

async fn validated(ctx: Ctx) -> Verdict {
    let (channel, group) = (ctx.channel("e-validate")?, GroupName::parse("workers")?);
    let with_group = || spec(&channel, kept(1)).group(group.clone(), StartPosition::Earliest);
    // Twice: the first look must not have made it.
    for _ in 0..2 {
        let missing = found(&ctx, TopologyMode::Validate, spec(&channel, kept(1))).await?;
        refused("validating a missing channel", missing, ErrorKind::NotFound)?;
    }
    let made = found(&ctx, TopologyMode::Create, spec(&channel, kept(1))).await??;
    same("the fields that creating reports", fields(&made), vec!["channel".to_owned()])?;
    for _ in 0..2 {
        let error = refused(
            "validating a missing group",
            found(&ctx, TopologyMode::Validate, with_group()).await?,
            ErrorKind::TopologyMismatch,
        )?;
        ensure(error.message().contains("group:workers"), "a report that names `group:workers`", error.message())?;
    }
    found(&ctx, TopologyMode::Create, with_group()).await??;
    let report = found(&ctx, TopologyMode::Validate, with_group()).await??;
    same("the differences once all is made", fields(&report), Vec::new())
}

fn fields(report: &TopologyReport) -> Vec<String> {
    report.differences.iter().map(|difference| difference.field.clone()).collect()
}

async fn mismatched(ctx: Ctx) -> Verdict {
    let others = [
        ("ordering", kept(1).ordered_per_key(8)),
        ("ordering", kept(1)),
        ("retention", kept(2).ordered_per_key(4)),
        ("durability", ChannelPolicy::new().ephemeral()),
    ];
    let (channel, policy) = (ctx.channel("e-mismatch")?, kept(1).ordered_per_key(4));
    found(&ctx, TopologyMode::Create, spec(&channel, policy.clone())).await??;
    for (field, other) in others {
        for mode in [TopologyMode::Validate, TopologyMode::Create] {
            let outcome = found(&ctx, mode, spec(&channel, other.clone())).await?;
            let what = format!("another `{field}` ({mode:?})");
            let error = refused(&what, outcome, ErrorKind::TopologyMismatch)?;
            ensure(error.message().contains(field), format!("a report that names `{field}`"), error.message())?;
        }
    }
    let report = found(&ctx, TopologyMode::Validate, spec(&channel, policy)).await??;
    same("the differences from what was declared first", fields(&report), Vec::new())
}

async fn updated(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("e-update")?;
    found(&ctx, TopologyMode::Create, spec(&channel, kept(1))).await??;
    let holds = match found(&ctx, TopologyMode::Update, spec(&channel, kept(2))).await? {
        Ok(report) => {
            let mended = report.differences.iter().any(|found| found.field.starts_with("retention") && found.mended);
            ensure(mended, "a report of a changed `retention`", format!("{:?}", report.differences))?;
            2
        }
        Err(error) if matches!(error.kind(), ErrorKind::TopologyMismatch | ErrorKind::Unsupported) => {
            ensure(error.message().contains("retention"), "a refusal that names `retention`", error.message())?;
            1
        }
        Err(error) => return failed("a change or a refusal", error),
    };
    let report = found(&ctx, TopologyMode::Validate, spec(&channel, kept(holds))).await??;
    same("the differences from what holds now", fields(&report), Vec::new())?;
    let outcome = found(&ctx, TopologyMode::Validate, spec(&channel, kept(3 - holds))).await?;
    refused("what does not hold now", outcome, ErrorKind::TopologyMismatch).map(drop)
}
