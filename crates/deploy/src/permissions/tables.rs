//! The actions that a deployment and its removal need.
//!
//! CloudFormation uses the caller's permissions. The actions for a resource type are in the type's schema
//! (`handlers` in AWS's registry); this list omits those for features that the template does not use:
//! networks, KMS keys, layers.

/// A row of the tables.
pub(super) struct Row {
    pub(super) actions: &'static [&'static str],
    /// The ARN of the resource, with names of [`ResourceNames`](super::needs::ResourceNames) in braces.
    pub(super) on: &'static str,
    /// The condition key and value of such a call.
    pub(super) condition: Option<(&'static str, &'static str)>,
}

const fn row(on: &'static str, actions: &'static [&'static str]) -> Row {
    Row { actions, on, condition: None }
}

/// The permission to pass a role to one service.
const fn pass(role: &'static str, service: &'static str) -> Row {
    Row { actions: &["iam:PassRole"], on: role, condition: Some(("iam:PassedToService", service)) }
}

const ROLE: &[&str] = &[
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:PutRolePolicy",
    "iam:TagRole",
];

/// For every deployment.
pub(super) const ALWAYS: &[Row] = &[
    row(
        "arn:{partition}:cloudformation:{region}:{account}:stack/{stack}/*",
        &[
            "cloudformation:CreateStack",
            "cloudformation:DeleteStack",
            "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStackResources",
            "cloudformation:DescribeStacks",
            "cloudformation:UpdateStack",
        ],
    ),
    row(
        "arn:{partition}:s3:::{code}",
        &[
            "s3:CreateBucket",
            "s3:DeleteBucket",
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketTagging",
        ],
    ),
    // CreateFunction reads the code with the caller's permissions.
    row(
        "arn:{partition}:s3:::{code}/*",
        &["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"],
    ),
    row(
        "arn:{partition}:s3:::{bucket}",
        &[
            "s3:CreateBucket",
            "s3:DeleteBucket",
            "s3:DeleteBucketPolicy",
            "s3:GetBucketPolicy",
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:PutBucketCORS",
            "s3:PutBucketOwnershipControls",
            "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketTagging",
            "s3:PutEncryptionConfiguration",
            "s3:PutLifecycleConfiguration",
        ],
    ),
    // `deploy` stores the first key there, and `destroy` empties the bucket.
    row(
        "arn:{partition}:s3:::{bucket}/*",
        &["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"],
    ),
    row(
        "arn:{partition}:logs:{region}:{account}:log-group:/tintype/{stack}:*",
        &[
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DeleteMetricFilter",
            "logs:DescribeMetricFilters",
            "logs:PutMetricFilter",
            "logs:PutRetentionPolicy",
        ],
    ),
    // CloudFormation tags the stack's resources. Here a log group's ARN ends differently.
    row("arn:{partition}:logs:{region}:{account}:log-group:/tintype/{stack}", &["logs:TagResource"]),
    row("*", &["logs:DescribeLogGroups"]),
    row("arn:{partition}:iam::{account}:role/{role}", ROLE),
    pass("arn:{partition}:iam::{account}:role/{role}", "lambda.amazonaws.com"),
    row(
        "arn:{partition}:lambda:{region}:{account}:function:{function}",
        &[
            "lambda:AddPermission",
            "lambda:CreateFunction",
            "lambda:DeleteFunction",
            "lambda:DeleteFunctionConcurrency",
            "lambda:GetFunction",
            "lambda:PutFunctionConcurrency",
            "lambda:RemovePermission",
            "lambda:TagResource",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
        ],
    ),
    row("arn:{partition}:apigateway:{region}::/restapis", &["apigateway:POST"]),
    row(
        "arn:{partition}:apigateway:{region}::/restapis/*",
        &["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:POST", "apigateway:PUT"],
    ),
    row("arn:{partition}:apigateway:{region}::/tags/*", &["apigateway:PUT"]),
    row(
        "arn:{partition}:cloudwatch:{region}:{account}:alarm:{stack}-*",
        &[
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
            "cloudwatch:TagResource",
        ],
    ),
];

/// For an endpoint that the stack creates. CloudFormation generates its names without the stack's name.
pub(super) const ENDPOINT: &[Row] = &[
    row("arn:{partition}:iam::{account}:role/{endpoint role}", ROLE),
    pass("arn:{partition}:iam::{account}:role/{endpoint role}", "sagemaker.amazonaws.com"),
    row(
        "arn:{partition}:sagemaker:{region}:{account}:model/*",
        &["sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:DescribeModel"],
    ),
    row(
        "arn:{partition}:sagemaker:{region}:{account}:endpoint-config/*",
        &[
            "sagemaker:AddTags",
            "sagemaker:CreateEndpoint",
            "sagemaker:CreateEndpointConfig",
            "sagemaker:DeleteEndpointConfig",
            "sagemaker:DescribeEndpointConfig",
            "sagemaker:UpdateEndpoint",
        ],
    ),
    row(
        "arn:{partition}:sagemaker:{region}:{account}:endpoint/*",
        &[
            "sagemaker:AddTags",
            "sagemaker:CreateEndpoint",
            "sagemaker:DeleteEndpoint",
            "sagemaker:DescribeEndpoint",
            "sagemaker:UpdateEndpoint",
        ],
    ),
];

/// For an endpoint that scales.
pub(super) const SCALING: &[Row] = &[
    row(
        "arn:{partition}:application-autoscaling:{region}:{account}:scalable-target/*",
        &[
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:TagResource",
        ],
    ),
    row(
        "*",
        &[
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
        ],
    ),
    // Only the first scaling endpoint of an account creates this role.
    Row {
        actions: &["iam:CreateServiceLinkedRole"],
        on: "arn:{partition}:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/\
             AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        condition: Some(("iam:AWSServiceName", "sagemaker.application-autoscaling.amazonaws.com")),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::TEMPLATE;

    /// The action that makes a resource of a type.
    const MAKING: [(&str, &str); 18] = [
        ("ApiGateway::Deployment", "apigateway:POST"),
        ("ApiGateway::Method", "apigateway:PUT"),
        ("ApiGateway::Resource", "apigateway:POST"),
        ("ApiGateway::RestApi", "apigateway:POST"),
        ("ApiGateway::Stage", "apigateway:POST"),
        ("ApplicationAutoScaling::ScalableTarget", "application-autoscaling:RegisterScalableTarget"),
        ("ApplicationAutoScaling::ScalingPolicy", "application-autoscaling:PutScalingPolicy"),
        ("CloudWatch::Alarm", "cloudwatch:PutMetricAlarm"),
        ("IAM::Role", "iam:CreateRole"),
        ("Lambda::Function", "lambda:CreateFunction"),
        ("Lambda::Permission", "lambda:AddPermission"),
        ("Logs::LogGroup", "logs:CreateLogGroup"),
        ("Logs::MetricFilter", "logs:PutMetricFilter"),
        ("S3::Bucket", "s3:CreateBucket"),
        ("S3::BucketPolicy", "s3:PutBucketPolicy"),
        ("SageMaker::Endpoint", "sagemaker:CreateEndpoint"),
        ("SageMaker::EndpointConfig", "sagemaker:CreateEndpointConfig"),
        ("SageMaker::Model", "sagemaker:CreateModel"),
    ];

    #[test]
    fn every_type_of_the_template_can_be_made() {
        let types = TEMPLATE.lines().filter_map(|line| line.strip_prefix("    Type: AWS::"));
        let types: BTreeSet<_> = types.collect();
        assert_eq!(types, BTreeSet::from(MAKING.map(|(name, _)| name)));
        let rows = ALWAYS.iter().chain(ENDPOINT).chain(SCALING);
        let needed: BTreeSet<_> = rows.flat_map(|row| row.actions).copied().collect();
        for (name, action) in MAKING {
            assert!(needed.contains(action), "{name}");
        }
    }
}
