//! Amazon ECS on Fargate: a template of CloudFormation with task and service definitions.

use super::document::YamlMap;
use super::schedule::Schedule;
use super::workload::{PORT_START, Workload};
use super::{DeployError, DeployFile, Deployment};
use crate::settings::WorkloadKind;

/// Fargate's sizes: thousandths of a processor in its units, with the least and the most memory in MiB and the step.
const SIZES: [(u32, u64, u64, u64); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];
/// The longest time from the stop signal to the kill on Fargate.
const MAX_STOP: u32 = 120;

/// Writes the template.
pub(super) fn render(deployment: &Deployment) -> Result<Vec<DeployFile>, DeployError> {
    let mut resources = shared(deployment);
    for workload in &deployment.workloads {
        if let Some(name) = workload.secret_files.first() {
            return Err(DeployError::Unsupported {
                subject: workload.name.clone(),
                reason: format!("ECS has no secret files, such as {name}"),
                help: "name the secret in secrets, as a variable",
            });
        }
        resources.insert(format!("{}Task", logical(&workload.name)), task(deployment, workload)?);
        match workload.kind {
            WorkloadKind::Service | WorkloadKind::Worker => {
                resources
                    .insert(format!("{}Service", logical(&workload.name)), service(deployment, workload));
            }
            WorkloadKind::Cron => {
                if let Some(schedule) = schedule(workload) {
                    resources.insert(format!("{}Schedule", logical(&workload.name)), schedule);
                }
            }
            WorkloadKind::Release => {}
        }
    }
    let template = head(deployment)
        .set("AWSTemplateFormatVersion", "2010-09-09")
        .set("Description", format!("{} on Fargate", deployment.name))
        .set("Parameters", parameters(deployment))
        .set("Resources", resources);
    Ok(vec![DeployFile::new("ecs.yaml", template.to_yaml())])
}

fn head(deployment: &Deployment) -> YamlMap {
    let mut map = YamlMap::new()
        .note("Written by ipo-oci deploy ecs. Valid for cfn-lint, and not tested on AWS itself. Apply:")
        .note(format!(
            "  aws cloudformation deploy --stack-name {} --template-file ecs.yaml --capabilities CAPABILITY_IAM --parameter-overrides …",
            deployment.name
        ));
    if deployment.workloads.iter().any(|workload| !workload.is_in_registry) {
        map = map.note("The image has no registry in its name: push it to ECR, with -t ACCOUNT.dkr.ecr.REGION.amazonaws.com/….");
    }
    for release in deployment.workloads.iter().filter(|workload| workload.kind == WorkloadKind::Release) {
        map = map.note(format!(
            "CloudFormation knows no order of tasks: run {}Task by `aws ecs run-task`, and wait, before the services change.",
            logical(&release.name)
        ));
    }
    map
}

/// Returns a name of letters and digits.
fn logical(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect()
}

fn secret_parameter(name: &str) -> String {
    format!("SecretOf{}", logical(name))
}

fn reference(name: impl Into<String>) -> YamlMap {
    YamlMap::new().set("Ref", name.into())
}

fn parameters(deployment: &Deployment) -> YamlMap {
    let parameter = |kind: &str| YamlMap::new().set("Type", kind);
    let mut map = YamlMap::new()
        .set("Cluster", parameter("String"))
        .set("Subnets", parameter("List<AWS::EC2::Subnet::Id>"))
        .set("SecurityGroups", parameter("List<AWS::EC2::SecurityGroup::Id>"));
    for workload in deployment.workloads.iter().filter(|workload| workload.port().is_some()) {
        if !workload.hosts.is_empty() {
            map = map.note(format!("Of a listener for {}.", workload.hosts.join(", ")));
        }
        map = map
            .note("The target group of a load balancer, with targets of type ip.")
            .set(format!("{}TargetGroup", logical(&workload.name)), parameter("String"));
    }
    if deployment.workloads.iter().any(|workload| workload.kind == WorkloadKind::Cron) {
        map = map
            .note("The role with which EventBridge starts tasks.")
            .set("SchedulerRole", parameter("String"));
    }
    for name in secrets(deployment) {
        map = map
            .note(format!("The ARN of the secret {name} in Secrets Manager or of a parameter of SSM."))
            .set(secret_parameter(name), parameter("String"));
    }
    map
}

fn secrets(deployment: &Deployment) -> Vec<&String> {
    let mut secrets: Vec<&String> =
        deployment.workloads.iter().flat_map(|workload| &workload.secrets).collect();
    secrets.sort();
    secrets.dedup();
    secrets
}

/// Returns the log group and the role that fetches images and secrets.
fn shared(deployment: &Deployment) -> YamlMap {
    let log = YamlMap::new()
        .set("Type", "AWS::Logs::LogGroup")
        .set("DeletionPolicy", "Delete")
        .set("UpdateReplacePolicy", "Delete")
        .set(
            "Properties",
            YamlMap::new()
                .set("LogGroupName", format!("/ecs/{}", deployment.name))
                .set("RetentionInDays", 30),
        );
    let statement = YamlMap::new()
        .set("Effect", "Allow")
        .set("Principal", YamlMap::new().set("Service", "ecs-tasks.amazonaws.com"))
        .set("Action", "sts:AssumeRole");
    let assume = YamlMap::new().set("Version", "2012-10-17").set("Statement", vec![statement]);
    let policy = YamlMap::new().set(
        "Fn::Sub",
        "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy",
    );
    let mut properties =
        YamlMap::new().set("AssumeRolePolicyDocument", assume).set("ManagedPolicyArns", vec![policy]);
    let secrets = secrets(deployment);
    if !secrets.is_empty() {
        let arns: Vec<YamlMap> = secrets.iter().map(|name| reference(secret_parameter(name))).collect();
        let statement = YamlMap::new()
            .set("Effect", "Allow")
            .set("Action", ["secretsmanager:GetSecretValue", "ssm:GetParameters"])
            .set("Resource", arns);
        let document = YamlMap::new().set("Version", "2012-10-17").set("Statement", vec![statement]);
        let policy = YamlMap::new().set("PolicyName", "secrets").set("PolicyDocument", document);
        properties.insert("Policies", vec![policy]);
    }
    let role = YamlMap::new().set("Type", "AWS::IAM::Role").set("Properties", properties);
    YamlMap::new().set("Log", log).set("ExecutionRole", role)
}

/// Returns the smallest size with these processors and this memory, in units and MiB.
fn size(workload: &Workload) -> Result<(u32, u64), DeployError> {
    let cpu = workload.cpu.map_or(256, |cpu| (u64::from(cpu.0) * 1024).div_ceil(1000));
    let memory = workload.memory.map_or(512, |memory| memory.0.div_ceil(1 << 20));
    SIZES
        .into_iter()
        .find(|(units, _, most, _)| u64::from(*units) >= cpu && *most >= memory)
        .map(|(units, least, _, step)| (units, least.max(memory.div_ceil(step) * step)))
        .ok_or_else(|| DeployError::Unsupported {
            subject: workload.name.clone(),
            reason: "no size of Fargate has its `cpu` and `memory`".to_owned(),
            help: "lower them to at most 16 processors and 120 GiB",
        })
}

fn task(deployment: &Deployment, workload: &Workload) -> Result<YamlMap, DeployError> {
    let (cpu, memory) = size(workload)?;
    let mut properties = YamlMap::new()
        .set("Family", format!("{}-{}", deployment.name, workload.name))
        .set("RequiresCompatibilities", ["FARGATE"])
        .set("NetworkMode", "awsvpc");
    if workload.cpu.is_none() || workload.memory.is_none() {
        properties =
            properties.note("Decide: `cpu` and `memory` in [tool.ipo-oci.deploy], measured under load.");
    }
    properties = properties
        .set("Cpu", cpu.to_string())
        .set("Memory", memory.to_string())
        .set("ExecutionRoleArn", YamlMap::new().set("Fn::GetAtt", ["ExecutionRole", "Arn"]))
        .note("Decide: a role with which the application itself calls AWS.")
        .set_disabled("TaskRoleArn", "arn:aws:iam::ACCOUNT:role/NAME")
        .set("ContainerDefinitions", vec![container(workload)]);
    if !workload.volumes.is_empty() {
        properties = properties.note(format!(
            "Decide: the data in {} is lost with the task, unless a volume of EFS is mounted there.",
            workload.volumes.join(", ")
        ));
    }
    Ok(YamlMap::new().set("Type", "AWS::ECS::TaskDefinition").set("Properties", properties))
}

fn container(workload: &Workload) -> YamlMap {
    let facts = &workload.facts;
    let mut map = YamlMap::new().set("Name", &workload.name).set("Image", &workload.image);
    if let Some(tag) = &workload.tag {
        map = map.trailing(tag);
    }
    map = map.set("Essential", true);
    if let Some(port) = workload.port() {
        map.insert("PortMappings", vec![YamlMap::new().set("ContainerPort", port)]);
    }
    let variable = |(name, value): (&String, &String)| YamlMap::new().set("Name", name).set("Value", value);
    map = map.set_filled("Environment", workload.env.iter().map(variable).collect::<Vec<_>>());
    let secret =
        |name: &String| YamlMap::new().set("Name", name).set("ValueFrom", reference(secret_parameter(name)));
    map = map.set_filled("Secrets", workload.secrets.iter().map(secret).collect::<Vec<_>>());
    let mut linux = YamlMap::new().set("Capabilities", YamlMap::new().set("Drop", ["ALL"]));
    if facts.is_own {
        map = map.set("ReadonlyRootFilesystem", true);
        linux = linux
            .note("An older Fargate without tmpfs needs a volume at /tmp.")
            .set("Tmpfs", vec![YamlMap::new().set("ContainerPath", "/tmp").set("Size", 64)]);
    } else {
        map = map
            .note("Not built by ipo-oci, so the root file system stays writable.")
            .set_disabled("ReadonlyRootFilesystem", true);
    }
    map = map.set("LinuxParameters", linux);
    if workload.has_low_port() {
        let control = YamlMap::new().set("Namespace", PORT_START).set("Value", "0");
        map = map.note("A port below 1024 without a capability.").set("SystemControls", vec![control]);
    }
    map = match &facts.health {
        Some(health) if health.has_secret() => {
            map.note("The health check of the image seems to contain a secret, and is not repeated here.")
        }
        Some(health) => {
            let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let mut command = vec!["CMD".to_owned()];
            command.extend(health.check.command.clone());
            let check = YamlMap::new()
                .set("Command", command)
                .set("Interval", seconds(health.check.interval).clamp(5, 300))
                .set("Timeout", seconds(health.check.timeout).clamp(2, 60))
                .set("Retries", health.check.retries.min(10))
                .set("StartPeriod", seconds(health.check.start_period).min(300));
            map.note("The health check of the image, which ECS ignores.").set("HealthCheck", check)
        }
        None if workload.kind == WorkloadKind::Service => map.note("The image has no health check."),
        None => map,
    };
    let options = YamlMap::new()
        .set("awslogs-group", reference("Log"))
        .set("awslogs-region", reference("AWS::Region"))
        .set("awslogs-stream-prefix", &workload.name);
    map.set("StopTimeout", workload.stop_seconds.clamp(2, MAX_STOP))
        .set("LogConfiguration", YamlMap::new().set("LogDriver", "awslogs").set("Options", options))
}

fn network() -> YamlMap {
    let vpc = YamlMap::new()
        .set("Subnets", reference("Subnets"))
        .set("SecurityGroups", reference("SecurityGroups"))
        .set("AssignPublicIp", "DISABLED");
    YamlMap::new().set("AwsvpcConfiguration", vpc)
}

fn service(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let is_service = workload.kind == WorkloadKind::Service;
    let count = workload.replicas.unwrap_or(if is_service { 2 } else { 1 });
    let breaker = YamlMap::new().set("Enable", true).set("Rollback", true);
    let rollout = YamlMap::new()
        .set("MinimumHealthyPercent", 100)
        .set("MaximumPercent", 200)
        .set("DeploymentCircuitBreaker", breaker);
    let mut properties = YamlMap::new()
        .set("ServiceName", format!("{}-{}", deployment.name, workload.name))
        .set("Cluster", reference("Cluster"))
        .set("LaunchType", "FARGATE")
        .set("TaskDefinition", reference(format!("{}Task", logical(&workload.name))))
        .set("DesiredCount", count)
        .set("DeploymentConfiguration", rollout)
        .set("NetworkConfiguration", network());
    if let Some(port) = workload.port() {
        let balancer = YamlMap::new()
            .set("ContainerName", &workload.name)
            .set("ContainerPort", port)
            .set("TargetGroupArn", reference(format!("{}TargetGroup", logical(&workload.name))));
        properties = properties.set("HealthCheckGracePeriodSeconds", 60).set("LoadBalancers", vec![balancer]);
    }
    if let Some(most) = workload.max_replicas {
        properties = properties
            .note(format!("Decide: a scaling policy of Application Auto Scaling, up to {most} tasks."));
    }
    YamlMap::new().set("Type", "AWS::ECS::Service").set("Properties", properties)
}

/// Returns the schedule, unless EventBridge has no form of the times.
fn schedule(workload: &Workload) -> Option<YamlMap> {
    let expression = Schedule::parse(workload.schedule.as_deref()?)?.to_eventbridge()?;
    let task = reference(format!("{}Task", logical(&workload.name)));
    let parameters = YamlMap::new()
        .set("TaskDefinitionArn", task)
        .set("LaunchType", "FARGATE")
        .set("NetworkConfiguration", network());
    let target = YamlMap::new()
        .set(
            "Arn",
            YamlMap::new().set(
                "Fn::Sub",
                "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster/${Cluster}",
            ),
        )
        .set("RoleArn", reference("SchedulerRole"))
        .set("EcsParameters", parameters);
    let properties = YamlMap::new()
        .set("ScheduleExpression", expression)
        .set("ScheduleExpressionTimezone", "UTC")
        .set("FlexibleTimeWindow", YamlMap::new().set("Mode", "OFF"))
        .set("Target", target);
    Some(YamlMap::new().set("Type", "AWS::Scheduler::Schedule").set("Properties", properties))
}
