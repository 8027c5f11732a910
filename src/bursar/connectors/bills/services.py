"""FOCUS service categories and AWS specifics that native exports do not carry, decided on distinct names only."""

import re

_CATEGORY_WORDS: tuple[tuple[str, str], ...] = (
    (
        "AI and Machine Learning",
        r"bedrock|sagemaker|openai|vertex|cognitive|machine learning|comprehend|rekognition|textract|polly|\bai\b|claude|gpt|anthropic",
    ),
    (
        "Databases",
        r"rds|relational database|dynamodb|aurora|redshift|elasticache|memorydb|neptune|docdb|documentdb|database|\bsql\b|cosmos|postgres|mysql|mariadb|mongodb|redis|spanner|firestore|bigtable|timestream|\batp\b|\badw\b",
    ),
    (
        "Storage",
        r"s3|simple storage|glacier|\befs\b|elastic file|\bfsx\b|storage|backup|block_?storage|object_?storage|\bdisk|snapshot|netapp",
    ),
    (
        "Networking",
        r"cloudfront|load balanc|elb|vpc|virtual network|vpn|route ?53|direct connect|expressroute|transit gateway|bandwidth|network|nat gateway|\bcdn\b|front door|\bdns\b|data transfer|global accelerator|ip address",
    ),
    (
        "Analytics",
        r"athena|glue|emr|kinesis|opensearch|elasticsearch|quicksight|synapse|databricks|bigquery|dataflow|dataproc|data factory|\bmsk\b|analytics|lake formation|event hubs",
    ),
    (
        "Compute",
        r"ec2|elastic compute|virtual machine|lambda|functions?\b|fargate|\becs\b|\beks\b|kubernetes|container|compute|app engine|cloud run|app service|batch|lightsail|workspaces",
    ),
    (
        "Security",
        r"kms|key management|key vault|guardduty|inspector|macie|\bwaf\b|shield|secrets manager|security|cognito|defender|sentinel|certificate",
    ),
    (
        "Management and Governance",
        r"cloudwatch|cloudtrail|config\b|systems manager|monitor|log analytics|telemetry|logging|cost explorer|support|trusted advisor|cloudformation|operations",
    ),
    (
        "Integration",
        r"sqs|queue|sns|notification|eventbridge|step functions|\bmq\b|service bus|pub/?sub|api gateway|api management|event grid|logic apps|\bses\b|email",
    ),
    (
        "Developer Tools",
        r"codebuild|codepipeline|codecommit|codeartifact|devops|cloud build|artifact|container registry|\becr\b|x-ray",
    ),
    ("Identity", r"identity|directory|active directory|entra"),
    ("Internet of Things", r"\biot\b"),
    ("Media", r"elemental|media|transcod|kinesis video"),
)

_CATEGORIES = tuple((category, re.compile(words, re.IGNORECASE)) for category, words in _CATEGORY_WORDS)


def category_of(service: str) -> str:
    """Return the FOCUS service category of a service's name; ``Other`` when nothing in the name tells."""
    for category, words in _CATEGORIES:
        if words.search(service):
            return category
    return "Other"


_AWS_INSTANCE = re.compile(r"(?:Usage|Instance|Node|Cluster)[^:]*:((?:db|cache|ml|search)?\.?[a-z0-9-]+\.[a-z0-9-]+)")


def aws_instance_of(usage_type: str) -> str | None:
    """Return the instance type inside an AWS usage type (``EU-BoxUsage:m5.large``), or None."""
    found = _AWS_INSTANCE.search(usage_type)
    return found[1] if found else None
