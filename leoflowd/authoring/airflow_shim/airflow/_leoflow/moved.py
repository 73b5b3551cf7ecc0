# ruff: noqa: E501 - a table, one module per line
"""What Airflow 1.10 and 2 called otherwise: modules, classes, arguments, context names. One table, two users.

`old_names.py` reads it where a DAG file is compiled or runs under this shim; `beside_airflow.py` loads this file by its
path where the real Airflow 3 does. So it imports nothing but the standard library, and nothing here knows a class:
names go in, names come out.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

HELPERS = "leoflow:leftovers"
"""Stands in the table for `leftovers.py` beside this file: small functions that Airflow 3 has nowhere any more."""

_TABLE = """
~airflow AirflowException:airflow.exceptions
airflow.operators BashOperator:airflow.providers.standard.operators.bash PythonOperator,BranchPythonOperator,ShortCircuitOperator,PythonVirtualenvOperator:airflow.providers.standard.operators.python DummyOperator=EmptyOperator,EmptyOperator:airflow.providers.standard.operators.empty TriggerDagRunOperator:airflow.providers.standard.operators.trigger_dagrun LatestOnlyOperator:airflow.providers.standard.operators.latest_only EmailOperator:airflow.providers.smtp.operators.smtp SimpleHttpOperator=HttpOperator:airflow.providers.http.operators.http PostgresOperator:airflow.providers.postgres.operators.postgres MySqlOperator:airflow.providers.mysql.operators.mysql HiveOperator:airflow.providers.apache.hive.operators.hive ExternalTaskSensor:airflow.providers.standard.sensors.external_task HttpSensor:airflow.providers.http.sensors.http SqlSensor:airflow.providers.common.sql.sensors.sql BaseSensorOperator:airflow.sdk.bases.sensor
airflow.operators.bash_operator airflow.providers.standard.operators.bash
airflow.operators.python_operator airflow.providers.standard.operators.python
airflow.operators.dummy_operator airflow.providers.standard.operators.empty DummyOperator=EmptyOperator
airflow.operators.dummy airflow.providers.standard.operators.empty DummyOperator=EmptyOperator
airflow.operators.branch_operator airflow.sdk.bases.branch
airflow.operators.dagrun_operator airflow.providers.standard.operators.trigger_dagrun DagRunOrder:leoflow:leftovers
airflow.operators.latest_only_operator airflow.providers.standard.operators.latest_only
airflow.operators.email_operator airflow.providers.smtp.operators.smtp
~airflow.operators.email airflow.providers.smtp.operators.smtp
~airflow.operators.branch airflow.sdk.bases.branch
~airflow.operators.datetime airflow.providers.standard.operators.datetime
~airflow.operators.weekday airflow.providers.standard.operators.weekday
airflow.operators.weekday WeekDay:airflow.providers.standard.utils.weekday
~airflow.operators.latest_only airflow.providers.standard.operators.latest_only
~airflow.operators.generic_transfer airflow.providers.common.sql.operators.generic_transfer
airflow.operators.sql airflow.providers.common.sql.operators.sql SQLTablecheckOperator=SQLTableCheckOperator
airflow.operators.sql_branch_operator airflow.providers.common.sql.operators.sql BranchSqlOperator=BranchSQLOperator
airflow.operators.check_operator airflow.providers.common.sql.operators.sql CheckOperator=SQLCheckOperator ValueCheckOperator=SQLValueCheckOperator IntervalCheckOperator=SQLIntervalCheckOperator ThresholdCheckOperator=SQLThresholdCheckOperator
airflow.operators.presto_check_operator airflow.providers.common.sql.operators.sql PrestoCheckOperator=SQLCheckOperator PrestoValueCheckOperator=SQLValueCheckOperator PrestoIntervalCheckOperator=SQLIntervalCheckOperator
airflow.operators.druid_check_operator airflow.providers.common.sql.operators.sql DruidCheckOperator=SQLCheckOperator
airflow.operators.docker_operator airflow.providers.docker.operators.docker
airflow.operators.http_operator airflow.providers.http.operators.http
airflow.operators.jdbc_operator airflow.providers.jdbc.operators.jdbc
airflow.operators.mssql_operator airflow.providers.microsoft.mssql.operators.mssql
airflow.operators.mysql_operator airflow.providers.mysql.operators.mysql
airflow.operators.oracle_operator airflow.providers.oracle.operators.oracle
airflow.operators.postgres_operator airflow.providers.postgres.operators.postgres
airflow.operators.sqlite_operator airflow.providers.sqlite.operators.sqlite
airflow.operators.papermill_operator airflow.providers.papermill.operators.papermill
airflow.operators.pig_operator airflow.providers.apache.pig.operators.pig
airflow.operators.hive_operator airflow.providers.apache.hive.operators.hive
airflow.operators.hive_stats_operator airflow.providers.apache.hive.operators.hive_stats
airflow.operators.hive_to_mysql airflow.providers.apache.hive.transfers.hive_to_mysql HiveToMySqlTransfer=HiveToMySqlOperator
airflow.operators.hive_to_samba_operator airflow.providers.apache.hive.transfers.hive_to_samba
airflow.operators.mysql_to_hive airflow.providers.apache.hive.transfers.mysql_to_hive MySqlToHiveTransfer=MySqlToHiveOperator
airflow.operators.mssql_to_hive airflow.providers.apache.hive.transfers.mssql_to_hive MsSqlToHiveTransfer=MsSqlToHiveOperator
airflow.operators.s3_to_hive_operator airflow.providers.apache.hive.transfers.s3_to_hive S3ToHiveTransfer=S3ToHiveOperator
airflow.operators.hive_to_druid airflow.providers.apache.druid.transfers.hive_to_druid HiveToDruidTransfer=HiveToDruidOperator
airflow.operators.presto_to_mysql airflow.providers.mysql.transfers.presto_to_mysql PrestoToMySqlTransfer=PrestoToMySqlOperator
airflow.operators.slack_operator airflow.providers.slack.operators.slack
airflow.operators.s3_file_transform_operator airflow.providers.amazon.aws.operators.s3
airflow.operators.s3_to_redshift_operator airflow.providers.amazon.aws.transfers.s3_to_redshift S3ToRedshiftTransfer=S3ToRedshiftOperator
airflow.operators.redshift_to_s3_operator airflow.providers.amazon.aws.transfers.redshift_to_s3 RedshiftToS3Transfer=RedshiftToS3Operator
airflow.operators.gcs_to_s3 airflow.providers.amazon.aws.transfers.gcs_to_s3
airflow.operators.google_api_to_s3_transfer airflow.providers.amazon.aws.transfers.google_api_to_s3 GoogleApiToS3Transfer=GoogleApiToS3Operator
airflow.operators.sensors BaseSensorOperator:airflow.sdk.bases.sensor ExternalTaskSensor:airflow.providers.standard.sensors.external_task TimeSensor:airflow.providers.standard.sensors.time TimeDeltaSensor:airflow.providers.standard.sensors.time_delta HttpSensor:airflow.providers.http.sensors.http SqlSensor:airflow.providers.common.sql.sensors.sql S3KeySensor,S3PrefixSensor:airflow.providers.amazon.aws.sensors.s3 HivePartitionSensor:airflow.providers.apache.hive.sensors.hive_partition NamedHivePartitionSensor:airflow.providers.apache.hive.sensors.named_hive_partition MetastorePartitionSensor:airflow.providers.apache.hive.sensors.metastore_partition WebHdfsSensor:airflow.providers.apache.hdfs.sensors.web_hdfs
airflow.sensors BaseSensorOperator:airflow.sdk.bases.sensor ExternalTaskSensor:airflow.providers.standard.sensors.external_task HttpSensor:airflow.providers.http.sensors.http SqlSensor:airflow.providers.common.sql.sensors.sql S3KeySensor:airflow.providers.amazon.aws.sensors.s3
airflow.sensors.base_sensor_operator airflow.sdk.bases.sensor
airflow.sensors.date_time_sensor airflow.providers.standard.sensors.date_time
airflow.sensors.external_task_sensor airflow.providers.standard.sensors.external_task ExternalTaskSensorLink=ExternalDagLink
airflow.sensors.time_delta_sensor airflow.providers.standard.sensors.time_delta
~airflow.sensors.time_sensor airflow.providers.standard.sensors.time
airflow.sensors.http_sensor airflow.providers.http.sensors.http
airflow.sensors.sql_sensor airflow.providers.common.sql.sensors.sql
airflow.sensors.sql airflow.providers.common.sql.sensors.sql
airflow.sensors.s3_key_sensor airflow.providers.amazon.aws.sensors.s3
airflow.sensors.s3_prefix_sensor airflow.providers.amazon.aws.sensors.s3
airflow.sensors.web_hdfs_sensor airflow.providers.apache.hdfs.sensors.web_hdfs
airflow.sensors.hdfs_sensor airflow.providers.apache.hdfs.sensors.hdfs
airflow.sensors.hive_partition_sensor airflow.providers.apache.hive.sensors.hive_partition
airflow.sensors.metastore_partition_sensor airflow.providers.apache.hive.sensors.metastore_partition
airflow.sensors.named_hive_partition_sensor airflow.providers.apache.hive.sensors.named_hive_partition
airflow.hooks.base_hook airflow.sdk.bases.hook
~airflow.hooks.filesystem airflow.providers.standard.hooks.filesystem
~airflow.hooks.subprocess airflow.providers.standard.hooks.subprocess
~airflow.hooks.package_index airflow.providers.standard.hooks.package_index
airflow.hooks.dbapi airflow.providers.common.sql.hooks.sql
airflow.hooks.dbapi_hook airflow.providers.common.sql.hooks.sql
airflow.hooks.S3_hook airflow.providers.amazon.aws.hooks.s3
airflow.hooks.docker_hook airflow.providers.docker.hooks.docker
airflow.hooks.druid_hook airflow.providers.apache.druid.hooks.druid
airflow.hooks.hdfs_hook airflow.providers.apache.hdfs.hooks.hdfs
airflow.hooks.hive_hooks airflow.providers.apache.hive.hooks.hive
airflow.hooks.http_hook airflow.providers.http.hooks.http
airflow.hooks.jdbc_hook airflow.providers.jdbc.hooks.jdbc
airflow.hooks.mssql_hook airflow.providers.microsoft.mssql.hooks.mssql
airflow.hooks.mysql_hook airflow.providers.mysql.hooks.mysql
airflow.hooks.oracle_hook airflow.providers.oracle.hooks.oracle
airflow.hooks.pig_hook airflow.providers.apache.pig.hooks.pig
airflow.hooks.postgres_hook airflow.providers.postgres.hooks.postgres
airflow.hooks.presto_hook airflow.providers.presto.hooks.presto
airflow.hooks.samba_hook airflow.providers.samba.hooks.samba
airflow.hooks.slack_hook airflow.providers.slack.hooks.slack
airflow.hooks.sqlite_hook airflow.providers.sqlite.hooks.sqlite
airflow.hooks.webhdfs_hook airflow.providers.apache.hdfs.hooks.webhdfs
airflow.hooks.zendesk_hook airflow.providers.zendesk.hooks.zendesk
airflow.macros.hive airflow.providers.apache.hive.macros.hive
airflow.kubernetes.secret airflow.providers.cncf.kubernetes.secret
airflow.kubernetes.pod_generator airflow.providers.cncf.kubernetes.pod_generator
airflow.kubernetes.kube_client airflow.providers.cncf.kubernetes.kube_client
airflow.kubernetes.kubernetes_helper_functions airflow.providers.cncf.kubernetes.kubernetes_helper_functions
airflow.contrib.kubernetes.secret airflow.providers.cncf.kubernetes.secret
airflow.datasets Dataset:airflow.sdk.definitions.asset DatasetAlias=AssetAlias,DatasetAll=AssetAll,DatasetAny=AssetAny:airflow.sdk
airflow.datasets.metadata airflow.sdk
airflow.timetables.datasets DatasetOrTimeSchedule=AssetOrTimeSchedule:airflow.sdk
airflow.utils.dates days_ago,date_range,round_time,infer_time_unit,scale_time_units,parse_execution_date:leoflow:leftovers
airflow.utils.decorators apply_defaults:leoflow:leftovers
airflow.utils.file TemporaryDirectory:tempfile mkdirs:leoflow:leftovers
airflow.utils.helpers chain,cross_downstream:airflow.sdk
airflow.utils apply_defaults:leoflow:leftovers chain,cross_downstream:airflow.sdk
airflow.models.baseoperator BaseOperatorLink:airflow.sdk
airflow.models.taskinstance Context:airflow.sdk
airflow.models.dag ScheduleInterval,ScheduleArg,ScheduleIntervalArg,DagStateChangeCallback:leoflow:leftovers
~airflow.utils.task_group airflow.sdk
~airflow.utils.weekday airflow.providers.standard.utils.weekday
~airflow.utils.dag_parsing_context airflow.sdk
"""
"""`old module`, then the module that has all of its names today, then names that are another there (`old=new`); or
names with the module of each (`old=new,name:module`), where only those moved. `~`: Airflow 3 still takes the old one."""

_CONTRIB = """
hooks.aws_hook amazon.aws.hooks.base_aws AwsHook=AwsBaseHook
hooks.aws_athena_hook amazon.aws.hooks.athena AWSAthenaHook=AthenaHook
hooks.aws_datasync_hook amazon.aws.hooks.datasync AWSDataSyncHook=DataSyncHook
hooks.aws_dynamodb_hook amazon.aws.hooks.dynamodb AwsDynamoDBHook=DynamoDBHook
hooks.aws_firehose_hook amazon.aws.hooks.kinesis AwsFirehoseHook=FirehoseHook
hooks.aws_glue_catalog_hook amazon.aws.hooks.glue_catalog AwsGlueCatalogHook=GlueCatalogHook
hooks.aws_lambda_hook amazon.aws.hooks.lambda_function AwsLambdaHook=LambdaHook
hooks.aws_logs_hook amazon.aws.hooks.logs
hooks.aws_sns_hook amazon.aws.hooks.sns AwsSnsHook=SnsHook
hooks.aws_sqs_hook amazon.aws.hooks.sqs SQSHook=SqsHook
hooks.emr_hook amazon.aws.hooks.emr
hooks.redshift_hook amazon.aws.hooks.redshift_cluster
hooks.sagemaker_hook amazon.aws.hooks.sagemaker
hooks.azure_container_instance_hook microsoft.azure.hooks.container_instance
hooks.azure_container_registry_hook microsoft.azure.hooks.container_registry
hooks.azure_container_volume_hook microsoft.azure.hooks.container_volume
hooks.azure_cosmos_hook microsoft.azure.hooks.cosmos
hooks.azure_data_lake_hook microsoft.azure.hooks.data_lake
hooks.azure_fileshare_hook microsoft.azure.hooks.fileshare
hooks.wasb_hook microsoft.azure.hooks.wasb
hooks.winrm_hook microsoft.winrm.hooks.winrm
hooks.bigquery_hook google.cloud.hooks.bigquery
hooks.datastore_hook google.cloud.hooks.datastore
hooks.gcp_api_base_hook google.common.hooks.base_google GoogleCloudBaseHook=GoogleBaseHook
hooks.gcp_bigtable_hook google.cloud.hooks.bigtable
hooks.gcp_cloud_build_hook google.cloud.hooks.cloud_build
hooks.gcp_compute_hook google.cloud.hooks.compute GceHook=ComputeEngineHook
hooks.gcp_container_hook google.cloud.hooks.kubernetes_engine GKEClusterHook=GKEHook
hooks.gcp_dataflow_hook google.cloud.hooks.dataflow DataFlowHook=DataflowHook
hooks.gcp_dataproc_hook google.cloud.hooks.dataproc DataProcHook=DataprocHook
hooks.gcp_dlp_hook google.cloud.hooks.dlp
hooks.gcp_function_hook google.cloud.hooks.functions GcfHook=CloudFunctionsHook
hooks.gcp_kms_hook google.cloud.hooks.kms GoogleCloudKMSHook=CloudKMSHook
hooks.gcp_natural_language_hook google.cloud.hooks.natural_language
hooks.gcp_pubsub_hook google.cloud.hooks.pubsub
hooks.gcp_spanner_hook google.cloud.hooks.spanner CloudSpannerHook=SpannerHook
hooks.gcp_speech_to_text_hook google.cloud.hooks.speech_to_text GCPSpeechToTextHook=CloudSpeechToTextHook
hooks.gcp_sql_hook google.cloud.hooks.cloud_sql CloudSqlDatabaseHook=CloudSQLDatabaseHook CloudSqlHook=CloudSQLHook
hooks.gcp_tasks_hook google.cloud.hooks.tasks
hooks.gcp_text_to_speech_hook google.cloud.hooks.text_to_speech GCPTextToSpeechHook=CloudTextToSpeechHook
hooks.gcp_transfer_hook google.cloud.hooks.cloud_storage_transfer_service GCPTransferServiceHook=CloudDataTransferServiceHook
hooks.gcp_translate_hook google.cloud.hooks.translate
hooks.gcp_video_intelligence_hook google.cloud.hooks.video_intelligence
hooks.gcp_vision_hook google.cloud.hooks.vision
hooks.gcs_hook google.cloud.hooks.gcs GoogleCloudStorageHook=GCSHook
hooks.gdrive_hook google.suite.hooks.drive
hooks.cassandra_hook apache.cassandra.hooks.cassandra
hooks.cloudant_hook cloudant.hooks.cloudant
hooks.databricks_hook databricks.hooks.databricks
hooks.datadog_hook datadog.hooks.datadog
hooks.dingding_hook dingding.hooks.dingding
hooks.discord_webhook_hook discord.hooks.discord_webhook
hooks.ftp_hook ftp.hooks.ftp
hooks.grpc_hook grpc.hooks.grpc
hooks.imap_hook imap.hooks.imap
hooks.jenkins_hook jenkins.hooks.jenkins
hooks.jira_hook atlassian.jira.hooks.jira
hooks.mongo_hook mongo.hooks.mongo
hooks.opsgenie_alert_hook opsgenie.hooks.opsgenie
hooks.pagerduty_hook pagerduty.hooks.pagerduty
hooks.pinot_hook apache.pinot.hooks.pinot
hooks.redis_hook redis.hooks.redis
hooks.salesforce_hook salesforce.hooks.salesforce
hooks.segment_hook segment.hooks.segment
hooks.sftp_hook sftp.hooks.sftp
hooks.slack_webhook_hook slack.hooks.slack_webhook
hooks.snowflake_hook snowflake.hooks.snowflake
hooks.spark_jdbc_hook apache.spark.hooks.spark_jdbc
hooks.spark_sql_hook apache.spark.hooks.spark_sql
hooks.spark_submit_hook apache.spark.hooks.spark_submit
hooks.ssh_hook ssh.hooks.ssh
hooks.vertica_hook vertica.hooks.vertica
hooks.fs_hook standard.hooks.filesystem
operators.adls_list_operator microsoft.azure.operators.adls AzureDataLakeStorageListOperator=ADLSListOperator
operators.adls_to_gcs google.cloud.transfers.adls_to_gcs AdlsToGoogleCloudStorageOperator=ADLSToGCSOperator
operators.aws_athena_operator amazon.aws.operators.athena AWSAthenaOperator=AthenaOperator
operators.aws_sqs_publish_operator amazon.aws.operators.sqs SQSPublishOperator=SqsPublishOperator
operators.awsbatch_operator amazon.aws.operators.batch AWSBatchOperator=BatchOperator
operators.dynamodb_to_s3 amazon.aws.transfers.dynamodb_to_s3
operators.ecs_operator amazon.aws.operators.ecs ECSOperator=EcsRunTaskOperator EcsOperator=EcsRunTaskOperator
operators.emr_add_steps_operator amazon.aws.operators.emr
operators.emr_create_job_flow_operator amazon.aws.operators.emr
operators.emr_terminate_job_flow_operator amazon.aws.operators.emr
operators.gcs_to_s3 amazon.aws.transfers.gcs_to_s3 GoogleCloudStorageToS3Operator=GCSToS3Operator
operators.hive_to_dynamodb amazon.aws.transfers.hive_to_dynamodb
operators.imap_attachment_to_s3_operator amazon.aws.transfers.imap_attachment_to_s3
operators.mongo_to_s3 amazon.aws.transfers.mongo_to_s3
operators.s3_copy_object_operator amazon.aws.operators.s3
operators.s3_delete_objects_operator amazon.aws.operators.s3
operators.s3_list_operator amazon.aws.operators.s3
operators.s3_to_sftp_operator amazon.aws.transfers.s3_to_sftp
operators.sftp_to_s3_operator amazon.aws.transfers.sftp_to_s3
operators.sagemaker_endpoint_config_operator amazon.aws.operators.sagemaker
operators.sagemaker_endpoint_operator amazon.aws.operators.sagemaker
operators.sagemaker_model_operator amazon.aws.operators.sagemaker
operators.sagemaker_training_operator amazon.aws.operators.sagemaker
operators.sagemaker_transform_operator amazon.aws.operators.sagemaker
operators.sagemaker_tuning_operator amazon.aws.operators.sagemaker
operators.sns_publish_operator amazon.aws.operators.sns
operators.azure_container_instances_operator microsoft.azure.operators.container_instances
operators.azure_cosmos_operator microsoft.azure.operators.cosmos
operators.file_to_wasb microsoft.azure.transfers.local_to_wasb FileToWasbOperator=LocalFilesystemToWasbOperator
operators.oracle_to_azure_data_lake_transfer microsoft.azure.transfers.oracle_to_azure_data_lake
operators.wasb_delete_blob_operator microsoft.azure.operators.wasb_delete_blob
operators.winrm_operator microsoft.winrm.operators.winrm
operators.bigquery_check_operator google.cloud.operators.bigquery
operators.bigquery_get_data google.cloud.operators.bigquery
operators.bigquery_operator google.cloud.operators.bigquery BigQueryOperator=BigQueryExecuteQueryOperator
operators.bigquery_table_delete_operator google.cloud.operators.bigquery BigQueryTableDeleteOperator=BigQueryDeleteTableOperator
operators.bigquery_to_bigquery google.cloud.transfers.bigquery_to_bigquery
operators.bigquery_to_gcs google.cloud.transfers.bigquery_to_gcs BigQueryToCloudStorageOperator=BigQueryToGCSOperator
operators.bigquery_to_mysql_operator google.cloud.transfers.bigquery_to_mysql
operators.cassandra_to_gcs google.cloud.transfers.cassandra_to_gcs CassandraToGoogleCloudStorageOperator=CassandraToGCSOperator
operators.dataflow_operator google.cloud.operators.dataflow DataFlowJavaOperator=DataflowCreateJavaJobOperator DataFlowPythonOperator=DataflowCreatePythonJobOperator DataflowTemplateOperator=DataflowTemplatedJobStartOperator
operators.dataproc_operator google.cloud.operators.dataproc DataprocClusterCreateOperator=DataprocCreateClusterOperator DataprocClusterDeleteOperator=DataprocDeleteClusterOperator DataprocClusterScaleOperator=DataprocScaleClusterOperator DataProcHadoopOperator=DataprocSubmitHadoopJobOperator DataProcHiveOperator=DataprocSubmitHiveJobOperator DataProcPigOperator=DataprocSubmitPigJobOperator DataProcPySparkOperator=DataprocSubmitPySparkJobOperator DataProcSparkOperator=DataprocSubmitSparkJobOperator DataProcSparkSqlOperator=DataprocSubmitSparkSqlJobOperator DataprocWorkflowTemplateInstantiateOperator=DataprocInstantiateWorkflowTemplateOperator DataprocWorkflowTemplateInstantiateInlineOperator=DataprocInstantiateInlineWorkflowTemplateOperator
operators.datastore_export_operator google.cloud.operators.datastore DatastoreExportOperator=CloudDatastoreExportEntitiesOperator
operators.datastore_import_operator google.cloud.operators.datastore DatastoreImportOperator=CloudDatastoreImportEntitiesOperator
operators.file_to_gcs google.cloud.transfers.local_to_gcs FileToGoogleCloudStorageOperator=LocalFilesystemToGCSOperator
operators.gcp_bigtable_operator google.cloud.operators.bigtable BigtableClusterUpdateOperator=BigtableUpdateClusterOperator BigtableInstanceCreateOperator=BigtableCreateInstanceOperator BigtableInstanceDeleteOperator=BigtableDeleteInstanceOperator BigtableTableCreateOperator=BigtableCreateTableOperator BigtableTableDeleteOperator=BigtableDeleteTableOperator
operators.gcp_cloud_build_operator google.cloud.operators.cloud_build
operators.gcp_compute_operator google.cloud.operators.compute GceInstanceStartOperator=ComputeEngineStartInstanceOperator GceInstanceStopOperator=ComputeEngineStopInstanceOperator GceSetMachineTypeOperator=ComputeEngineSetMachineTypeOperator GceInstanceTemplateCopyOperator=ComputeEngineCopyInstanceTemplateOperator GceInstanceGroupManagerUpdateTemplateOperator=ComputeEngineInstanceGroupUpdateManagerTemplateOperator
operators.gcp_container_operator google.cloud.operators.kubernetes_engine GKEClusterCreateOperator=GKECreateClusterOperator GKEClusterDeleteOperator=GKEDeleteClusterOperator GKEPodOperator=GKEStartPodOperator
operators.gcp_dlp_operator google.cloud.operators.dlp
operators.gcp_function_operator google.cloud.operators.functions GcfFunctionDeleteOperator=CloudFunctionDeleteFunctionOperator GcfFunctionDeployOperator=CloudFunctionDeployFunctionOperator
operators.gcp_natural_language_operator google.cloud.operators.natural_language
operators.gcp_spanner_operator google.cloud.operators.spanner CloudSpannerInstanceDatabaseDeleteOperator=SpannerDeleteDatabaseInstanceOperator CloudSpannerInstanceDatabaseDeployOperator=SpannerDeployDatabaseInstanceOperator CloudSpannerInstanceDatabaseQueryOperator=SpannerQueryDatabaseInstanceOperator CloudSpannerInstanceDatabaseUpdateOperator=SpannerUpdateDatabaseInstanceOperator CloudSpannerInstanceDeleteOperator=SpannerDeleteInstanceOperator CloudSpannerInstanceDeployOperator=SpannerDeployInstanceOperator
operators.gcp_speech_to_text_operator google.cloud.operators.speech_to_text GcpSpeechToTextRecognizeSpeechOperator=CloudSpeechToTextRecognizeSpeechOperator
operators.gcp_sql_operator google.cloud.operators.cloud_sql CloudSqlInstanceCreateOperator=CloudSQLCreateInstanceOperator CloudSqlInstanceDatabaseCreateOperator=CloudSQLCreateInstanceDatabaseOperator CloudSqlInstanceDatabaseDeleteOperator=CloudSQLDeleteInstanceDatabaseOperator CloudSqlInstanceDatabasePatchOperator=CloudSQLPatchInstanceDatabaseOperator CloudSqlInstanceDeleteOperator=CloudSQLDeleteInstanceOperator CloudSqlInstanceExportOperator=CloudSQLExportInstanceOperator CloudSqlInstanceImportOperator=CloudSQLImportInstanceOperator CloudSqlInstancePatchOperator=CloudSQLInstancePatchOperator CloudSqlQueryOperator=CloudSQLExecuteQueryOperator
operators.gcp_tasks_operator google.cloud.operators.tasks
operators.gcp_text_to_speech_operator google.cloud.operators.text_to_speech GcpTextToSpeechSynthesizeOperator=CloudTextToSpeechSynthesizeOperator
operators.gcp_transfer_operator google.cloud.operators.cloud_storage_transfer_service GcpTransferServiceJobCreateOperator=CloudDataTransferServiceCreateJobOperator GcpTransferServiceJobDeleteOperator=CloudDataTransferServiceDeleteJobOperator GcpTransferServiceJobUpdateOperator=CloudDataTransferServiceUpdateJobOperator GoogleCloudStorageToGoogleCloudStorageTransferOperator=CloudDataTransferServiceGCSToGCSOperator S3ToGoogleCloudStorageTransferOperator=CloudDataTransferServiceS3ToGCSOperator
operators.gcp_translate_operator google.cloud.operators.translate
operators.gcp_vision_operator google.cloud.operators.vision
operators.gcs_acl_operator google.cloud.operators.gcs GoogleCloudStorageBucketCreateAclEntryOperator=GCSBucketCreateAclEntryOperator GoogleCloudStorageObjectCreateAclEntryOperator=GCSObjectCreateAclEntryOperator
operators.gcs_delete_operator google.cloud.operators.gcs GoogleCloudStorageDeleteOperator=GCSDeleteObjectsOperator
operators.gcs_download_operator google.cloud.transfers.gcs_to_local GoogleCloudStorageDownloadOperator=GCSToLocalFilesystemOperator
operators.gcs_list_operator google.cloud.operators.gcs GoogleCloudStorageListOperator=GCSListObjectsOperator
operators.gcs_operator google.cloud.operators.gcs GoogleCloudStorageCreateBucketOperator=GCSCreateBucketOperator
operators.gcs_to_bq google.cloud.transfers.gcs_to_bigquery GoogleCloudStorageToBigQueryOperator=GCSToBigQueryOperator
operators.gcs_to_gcs google.cloud.transfers.gcs_to_gcs GoogleCloudStorageToGoogleCloudStorageOperator=GCSToGCSOperator
operators.gcs_to_gdrive_operator google.suite.transfers.gcs_to_gdrive
operators.mssql_to_gcs google.cloud.transfers.mssql_to_gcs MsSqlToGoogleCloudStorageOperator=MSSQLToGCSOperator
operators.mysql_to_gcs google.cloud.transfers.mysql_to_gcs MySqlToGoogleCloudStorageOperator=MySQLToGCSOperator
operators.postgres_to_gcs_operator google.cloud.transfers.postgres_to_gcs PostgresToGoogleCloudStorageOperator=PostgresToGCSOperator
operators.sql_to_gcs google.cloud.transfers.sql_to_gcs BaseSQLToGoogleCloudStorageOperator=BaseSQLToGCSOperator
operators.s3_to_gcs_operator google.cloud.transfers.s3_to_gcs S3ToGoogleCloudStorageOperator=S3ToGCSOperator
operators.pubsub_operator google.cloud.operators.pubsub PubSubPublishOperator=PubSubPublishMessageOperator PubSubSubscriptionCreateOperator=PubSubCreateSubscriptionOperator PubSubSubscriptionDeleteOperator=PubSubDeleteSubscriptionOperator PubSubTopicCreateOperator=PubSubCreateTopicOperator PubSubTopicDeleteOperator=PubSubDeleteTopicOperator
operators.databricks_operator databricks.operators.databricks
operators.dingding_operator dingding.operators.dingding
operators.discord_webhook_operator discord.operators.discord_webhook
operators.docker_swarm_operator docker.operators.docker_swarm
operators.druid_operator apache.druid.operators.druid
operators.grpc_operator grpc.operators.grpc
operators.jenkins_job_trigger_operator jenkins.operators.jenkins_job_trigger
operators.jira_operator atlassian.jira.operators.jira
operators.kubernetes_pod_operator cncf.kubernetes.operators.pod
operators.opsgenie_alert_operator opsgenie.operators.opsgenie OpsgenieAlertOperator=OpsgenieCreateAlertOperator
operators.oracle_to_oracle_transfer oracle.transfers.oracle_to_oracle OracleToOracleTransfer=OracleToOracleOperator
operators.redis_publish_operator redis.operators.redis_publish
operators.segment_track_event_operator segment.operators.segment_track_event
operators.sftp_operator sftp.operators.sftp
operators.slack_webhook_operator slack.operators.slack_webhook
operators.snowflake_operator snowflake.operators.snowflake
operators.spark_jdbc_operator apache.spark.operators.spark_jdbc
operators.spark_sql_operator apache.spark.operators.spark_sql
operators.spark_submit_operator apache.spark.operators.spark_submit
operators.ssh_operator ssh.operators.ssh
operators.vertica_operator vertica.operators.vertica
operators.vertica_to_hive apache.hive.transfers.vertica_to_hive VerticaToHiveTransfer=VerticaToHiveOperator
operators.vertica_to_mysql mysql.transfers.vertica_to_mysql VerticaToMySqlTransfer=VerticaToMySqlOperator
sensors.aws_athena_sensor amazon.aws.sensors.athena
sensors.aws_glue_catalog_partition_sensor amazon.aws.sensors.glue_catalog_partition AwsGlueCatalogPartitionSensor=GlueCatalogPartitionSensor
sensors.aws_redshift_cluster_sensor amazon.aws.sensors.redshift_cluster AwsRedshiftClusterSensor=RedshiftClusterSensor
sensors.aws_sqs_sensor amazon.aws.sensors.sqs SQSSensor=SqsSensor
sensors.emr_job_flow_sensor amazon.aws.sensors.emr
sensors.emr_step_sensor amazon.aws.sensors.emr
sensors.sagemaker_training_sensor amazon.aws.sensors.sagemaker
sensors.azure_cosmos_sensor microsoft.azure.sensors.cosmos
sensors.wasb_sensor microsoft.azure.sensors.wasb
sensors.bash_sensor standard.sensors.bash
sensors.file_sensor standard.sensors.filesystem
sensors.python_sensor standard.sensors.python
sensors.weekday_sensor standard.sensors.weekday
sensors.bigquery_sensor google.cloud.sensors.bigquery BigQueryTableSensor=BigQueryTableExistenceSensor
sensors.gcp_transfer_sensor google.cloud.sensors.cloud_storage_transfer_service GCPTransferServiceWaitForJobStatusSensor=CloudDataTransferServiceJobStatusSensor
sensors.gcs_sensor google.cloud.sensors.gcs GoogleCloudStorageObjectSensor=GCSObjectExistenceSensor GoogleCloudStorageObjectUpdatedSensor=GCSObjectUpdateSensor GoogleCloudStoragePrefixSensor=GCSObjectsWithPrefixExistenceSensor GoogleCloudStorageUploadSessionCompleteSensor=GCSUploadSessionCompleteSensor
sensors.pubsub_sensor google.cloud.sensors.pubsub
sensors.cassandra_record_sensor apache.cassandra.sensors.record
sensors.cassandra_table_sensor apache.cassandra.sensors.table
sensors.celery_queue_sensor celery.sensors.celery_queue
sensors.datadog_sensor datadog.sensors.datadog
sensors.ftp_sensor ftp.sensors.ftp
sensors.imap_attachment_sensor imap.sensors.imap_attachment
sensors.jira_sensor atlassian.jira.sensors.jira
sensors.mongo_sensor mongo.sensors.mongo
sensors.redis_key_sensor redis.sensors.redis_key
sensors.redis_pub_sub_sensor redis.sensors.redis_pub_sub
sensors.sftp_sensor sftp.sensors.sftp
"""
"""The same for Airflow 1.10's `airflow.contrib.`, whose modules went to `airflow.providers.`."""

_PROVIDERS = """
amazon.aws.hooks.dynamodb AwsDynamoDBHook=DynamoDBHook:amazon.aws.hooks.dynamodb
amazon.aws.hooks.lambda_function AwsLambdaHook=LambdaHook:amazon.aws.hooks.lambda_function
amazon.aws.hooks.redshift amazon.aws.hooks.redshift_cluster RedshiftSQLHook:amazon.aws.hooks.redshift_sql
amazon.aws.operators.athena AWSAthenaOperator=AthenaOperator:amazon.aws.operators.athena
amazon.aws.operators.aws_lambda amazon.aws.operators.lambda_function AwsLambdaInvokeFunctionOperator=LambdaInvokeFunctionOperator
amazon.aws.operators.lambda_function AwsLambdaInvokeFunctionOperator=LambdaInvokeFunctionOperator:amazon.aws.operators.lambda_function
amazon.aws.operators.batch AwsBatchOperator=BatchOperator:amazon.aws.operators.batch
amazon.aws.operators.ecs ECSOperator=EcsRunTaskOperator,EcsOperator=EcsRunTaskOperator:amazon.aws.operators.ecs
amazon.aws.operators.emr_add_steps amazon.aws.operators.emr
amazon.aws.operators.emr_containers amazon.aws.operators.emr EMRContainerOperator=EmrContainerOperator
amazon.aws.operators.emr_create_job_flow amazon.aws.operators.emr
amazon.aws.operators.emr_modify_cluster amazon.aws.operators.emr
amazon.aws.operators.emr_terminate_job_flow amazon.aws.operators.emr
amazon.aws.operators.glue AwsGlueJobOperator=GlueJobOperator:amazon.aws.operators.glue
amazon.aws.operators.glue_crawler AwsGlueCrawlerOperator=GlueCrawlerOperator:amazon.aws.operators.glue_crawler
amazon.aws.operators.redshift amazon.aws.operators.redshift_cluster RedshiftSQLOperator=SQLExecuteQueryOperator:common.sql.operators.sql
amazon.aws.operators.redshift_sql RedshiftSQLOperator=SQLExecuteQueryOperator:common.sql.operators.sql
amazon.aws.operators.s3_bucket amazon.aws.operators.s3
amazon.aws.operators.s3_bucket_tagging amazon.aws.operators.s3
amazon.aws.operators.s3_copy_object amazon.aws.operators.s3
amazon.aws.operators.s3_delete_objects amazon.aws.operators.s3
amazon.aws.operators.s3_file_transform amazon.aws.operators.s3
amazon.aws.operators.s3_list amazon.aws.operators.s3
amazon.aws.operators.s3_list_prefixes amazon.aws.operators.s3
amazon.aws.operators.sagemaker_endpoint amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_endpoint_config amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_model amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_processing amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_training amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_transform amazon.aws.operators.sagemaker
amazon.aws.operators.sagemaker_tuning amazon.aws.operators.sagemaker
amazon.aws.operators.sqs SQSPublishOperator=SqsPublishOperator:amazon.aws.operators.sqs
amazon.aws.sensors.emr_base amazon.aws.sensors.emr
amazon.aws.sensors.emr_containers amazon.aws.sensors.emr EMRContainerSensor=EmrContainerSensor
amazon.aws.sensors.emr_job_flow amazon.aws.sensors.emr
amazon.aws.sensors.emr_step amazon.aws.sensors.emr
amazon.aws.sensors.glue AwsGlueJobSensor=GlueJobSensor:amazon.aws.sensors.glue
amazon.aws.sensors.glue_crawler AwsGlueCrawlerSensor=GlueCrawlerSensor:amazon.aws.sensors.glue_crawler
amazon.aws.sensors.redshift amazon.aws.sensors.redshift_cluster AwsRedshiftClusterSensor=RedshiftClusterSensor
amazon.aws.sensors.s3_key amazon.aws.sensors.s3
amazon.aws.sensors.s3_keys_unchanged amazon.aws.sensors.s3
amazon.aws.sensors.s3_prefix amazon.aws.sensors.s3
amazon.aws.sensors.sqs SQSSensor=SqsSensor:amazon.aws.sensors.sqs
cncf.kubernetes.operators.kubernetes_pod cncf.kubernetes.operators.pod
google.cloud.operators.bigquery BigQueryExecuteQueryOperator=BigQueryInsertJobOperator:google.cloud.operators.bigquery
google.cloud.operators.bigquery BigQueryCreateEmptyTableOperator=BigQueryCreateTableOperator:google.cloud.operators.bigquery
google.cloud.operators.bigquery BigQueryCreateExternalTableOperator=BigQueryCreateTableOperator:google.cloud.operators.bigquery
google.cloud.operators.gcs GCSDeleteObjectOperator=GCSDeleteObjectsOperator:google.cloud.operators.gcs
http.operators.http SimpleHttpOperator=HttpOperator:http.operators.http
jdbc.operators.jdbc JdbcOperator=SQLExecuteQueryOperator:common.sql.operators.sql
jira.hooks.jira atlassian.jira.hooks.jira
jira.operators.jira atlassian.jira.operators.jira
jira.sensors.jira atlassian.jira.sensors.jira
microsoft.mssql.operators.mssql MsSqlOperator=SQLExecuteQueryOperator:common.sql.operators.sql
mysql.operators.mysql MySqlOperator=SQLExecuteQueryOperator:common.sql.operators.sql
oracle.operators.oracle OracleOperator=SQLExecuteQueryOperator:common.sql.operators.sql
postgres.operators.postgres PostgresOperator=SQLExecuteQueryOperator:common.sql.operators.sql
snowflake.operators.snowflake SnowflakeOperator=SQLExecuteQueryOperator:common.sql.operators.sql
snowflake.transfers.s3_to_snowflake snowflake.transfers.copy_into_snowflake S3ToSnowflakeOperator=CopyFromExternalStageToSnowflakeOperator
sqlite.operators.sqlite SqliteOperator=SQLExecuteQueryOperator:common.sql.operators.sql
trino.operators.trino TrinoOperator=SQLExecuteQueryOperator:common.sql.operators.sql
vertica.operators.vertica VerticaOperator=SQLExecuteQueryOperator:common.sql.operators.sql
exasol.operators.exasol ExasolOperator=SQLExecuteQueryOperator:common.sql.operators.sql
databricks.operators.databricks_sql DatabricksSQLOperator=DatabricksSqlOperator:databricks.operators.databricks_sql
dbt.cloud.operators.dbt DbtCloudRunOperator=DbtCloudRunJobOperator:dbt.cloud.operators.dbt
"""
"""The same for modules and classes below `airflow.providers.` that moved or have a successor."""

REMOVED: Mapping[str, str] = {
    "airflow.operators.subdag": "put the tasks of the SubDag into a task group: `with TaskGroup(...)`",
    "airflow.operators.subdag_operator": "put the tasks of the SubDag into a task group: `with TaskGroup(...)`",
    **{
        f"airflow.{where}kubernetes.{name}": f"use the classes of the kubernetes client: kubernetes.client.{model}"
        for where in ("", "contrib.")
        for name, model in (
            ("volume", "V1Volume"),
            ("volume_mount", "V1VolumeMount"),
            ("pod", "V1ContainerPort, V1ResourceRequirements"),
            ("pod_runtime_info_env", "V1EnvVar"),
        )
    },
    **{
        f"airflow.providers.google.cloud.operators.dataproc.Dataproc{name}Operator": (
            f"use DataprocSubmitJobOperator(job={{{key!r}: ...}})"
        )
        for name, key in (
            ("SubmitHadoopJob", "hadoop_job"),
            ("SubmitHiveJob", "hive_job"),
            ("SubmitPigJob", "pig_job"),
            ("SubmitPySparkJob", "pyspark_job"),
            ("SubmitSparkJob", "spark_job"),
            ("SubmitSparkSqlJob", "spark_sql_job"),
        )
    },
    "airflow.providers.google.cloud.operators.dataflow.DataflowCreatePythonJobOperator": (
        "use BeamRunPythonPipelineOperator of the provider apache.beam"
    ),
    "airflow.providers.google.cloud.operators.dataflow.DataflowCreateJavaJobOperator": (
        "use BeamRunJavaPipelineOperator of the provider apache.beam"
    ),
    "airflow.contrib.operators.mlengine_operator": "use the operators of airflow.providers.google.cloud.operators.vertex_ai",
    "airflow.contrib.operators.sqoop_operator": "call sqoop in a BashOperator: its provider was given up",
    "airflow.contrib.operators.qubole_operator": "call the service's API: its provider was given up",
}
"""Modules, and classes by their full name, that no new name stands for; with what to do instead."""


# --- arguments ---------------------------------------------------------------------------------------------------


class Rules(NamedTuple):
    """What became of arguments of one class, or of all classes of a package."""

    rename: Mapping[str, str | tuple[str, ...]] = {}
    """old -> new, or several new ones that take the value."""
    counts: Mapping[str, bool] = {}
    """Of the renamed ones that Airflow 2 took beside their new names: whether the old one counted."""
    into: Mapping[str, tuple[str, ...]] = {}
    """new argument, a dict -> the old ones that are keys of it now."""
    values: Mapping[str, tuple[str, Mapping[Any, Any]]] = {}
    """old -> (new, old value -> new value)."""
    drop: Mapping[str, str] = {}
    """Without effect today -> why that is right, or what to use."""
    refuse: Mapping[str, str] = {}
    """Unless None -> what to do instead."""
    default: Mapping[str, Any] = {}
    """What the old class took by itself, under the new names."""
    make: str = ""
    """A function of `MAKERS` that puts the new arguments together."""
    keep: frozenset[str] = frozenset()
    """Not old here: names that a rule for more classes takes for old, and these classes still have."""


class Refused(Exception):
    """An old argument that no new one stands for. `argument`, `remedy`."""

    def __init__(self, argument: str, remedy: str) -> None:
        super().__init__(f"{argument}: {remedy}")
        self.argument = argument
        self.remedy = remedy


DAG_RULES = Rules(
    rename={
        "schedule_interval": "schedule",
        "timetable": "schedule",
        "concurrency": "max_active_tasks",
        "fail_stop": "fail_fast",
    },
    counts={"concurrency": True},
    drop={
        "default_view": "the UI opens its own page",
        "orientation": "the UI has its own",
        "full_filepath": "the file is known",
        "sla_miss_callback": "Airflow 3 never calls it; use dagrun_timeout",
    },
)
TRIGGER_RULES: Mapping[str, str] = {"none_failed_or_skipped": "none_failed_min_one_success", "dummy": "always"}
TASK_RULES = Rules(
    rename={"task_concurrency": "max_active_tis_per_dag", "xcom_push": "do_xcom_push"},
    counts={"task_concurrency": False},
    values={"trigger_rule": ("trigger_rule", TRIGGER_RULES)},
    drop={
        "provide_context": "a function gets the context names that it has parameters for",
        "sla": "Airflow 3 has no SLAs; use execution_timeout or dagrun_timeout",
    },
)
ONCE_POSITIONAL = ("description", "schedule_interval", "start_date", "end_date")
"""Arguments of `DAG` after its id that needed no name."""
CONTEXT: Mapping[str, str] = {
    "execution_date": "logical_date",
    "next_execution_date": "data_interval_end",
    "prev_execution_date": "the logical date of the run before",
    "prev_execution_date_success": "prev_data_interval_start_success",
    "next_ds": "data_interval_end | ds",
    "next_ds_nodash": "data_interval_end | ds_nodash",
    "prev_ds": "the logical date of the run before",
    "prev_ds_nodash": "the logical date of the run before",
    "yesterday_ds": "macros.ds_add(ds, -1)",
    "yesterday_ds_nodash": "macros.ds_add(ds, -1)",
    "tomorrow_ds": "macros.ds_add(ds, 1)",
    "tomorrow_ds_nodash": "macros.ds_add(ds, 1)",
    "conf": "environment variables",
}
"""Names of the task's context that Airflow 3 dropped -> what to use."""


def _sql(old: str, default: str, **more: Any) -> Rules:
    return Rules(rename={old: "conn_id"}, default={"conn_id": default}, **more)


_POD = Rules(
    rename={"node_selectors": "node_selector"},
    values={"is_delete_operator_pod": ("on_finish_action", {True: "delete_pod", False: "keep_pod"})},
    make="pod_resources",
)
_DAY = {"use_task_execution_day": "use_task_logical_date", "use_task_execution_date": "use_task_logical_date"}
RULES: Mapping[str, Rules] = {
    "airflow.timetables.datasets.DatasetOrTimeSchedule": Rules(rename={"datasets": "assets"}),
    "airflow.providers.postgres.operators.postgres.PostgresOperator": _sql(
        "postgres_conn_id",
        "postgres_default",
        refuse={"runtime_parameters": 'pass hook_params={"options": "-c name=value"}'},
    ),
    "airflow.providers.mysql.operators.mysql.MySqlOperator": _sql("mysql_conn_id", "mysql_default"),
    "airflow.providers.sqlite.operators.sqlite.SqliteOperator": _sql("sqlite_conn_id", "sqlite_default"),
    "airflow.providers.microsoft.mssql.operators.mssql.MsSqlOperator": _sql("mssql_conn_id", "mssql_default"),
    "airflow.providers.oracle.operators.oracle.OracleOperator": _sql("oracle_conn_id", "oracle_default"),
    "airflow.providers.jdbc.operators.jdbc.JdbcOperator": _sql("jdbc_conn_id", "jdbc_default"),
    "airflow.providers.trino.operators.trino.TrinoOperator": _sql("trino_conn_id", "trino_default"),
    "airflow.providers.vertica.operators.vertica.VerticaOperator": _sql("vertica_conn_id", "vertica_default"),
    "airflow.providers.exasol.operators.exasol.ExasolOperator": _sql("exasol_conn_id", "exasol_default"),
    "airflow.providers.amazon.aws.operators.redshift.RedshiftSQLOperator": _sql("redshift_conn_id", "redshift_default"),
    "airflow.providers.amazon.aws.operators.redshift_sql.RedshiftSQLOperator": _sql(
        "redshift_conn_id", "redshift_default"
    ),
    "airflow.providers.snowflake.operators.snowflake.SnowflakeOperator": _sql(
        "snowflake_conn_id",
        "snowflake_default",
        into={"hook_params": ("warehouse", "database", "role", "schema", "authenticator", "session_parameters")},
    ),
    "airflow.providers.snowflake.transfers.s3_to_snowflake.S3ToSnowflakeOperator": Rules(rename={"s3_keys": "files"}),
    "airflow.providers.google.cloud.operators.bigquery.BigQueryExecuteQueryOperator": Rules(
        make="bigquery_job",
        refuse=dict.fromkeys(("cluster_fields", "encryption_configuration"), "use BigQueryInsertJobOperator"),
    ),
    "airflow.providers.google.cloud.operators.bigquery.BigQueryCreateEmptyTableOperator": Rules(
        make="bigquery_empty_table",
        refuse={"materialized_view": 'pass table_resource={"materializedView": ...}'},
    ),
    "airflow.providers.google.cloud.operators.bigquery.BigQueryCreateExternalTableOperator": Rules(
        make="bigquery_external_table",
        refuse=dict.fromkeys(
            ("bucket", "source_objects", "destination_project_dataset_table"),
            'pass table_resource={"tableReference": ..., "externalDataConfiguration": ...}',
        ),
    ),
    "airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator": _POD,
    "airflow.providers.google.cloud.operators.kubernetes_engine.GKEStartPodOperator": _POD,
    "airflow.providers.ssh.operators.ssh.SSHOperator": Rules(rename={"timeout": ("conn_timeout", "cmd_timeout")}),
    "airflow.providers.slack.operators.slack_webhook.SlackWebhookOperator": Rules(
        rename={"http_conn_id": "slack_webhook_conn_id"},
        refuse={"webhook_token": "store the token in a connection and pass slack_webhook_conn_id"},
    ),
    "airflow.providers.slack.operators.slack.": Rules(
        refuse={"token": "store the token in a connection and pass slack_conn_id"}
    ),
    "airflow.providers.google.": Rules(
        rename={
            "bigquery_conn_id": "gcp_conn_id",
            "google_cloud_storage_conn_id": "gcp_conn_id",
            "google_cloud_conn_id": "gcp_conn_id",
            "datastore_conn_id": "gcp_conn_id",
        },
        refuse={"delegate_to": "pass impersonation_chain"},
    ),
    "airflow.providers.google.cloud.sensors.gcs.": Rules(keep=frozenset({"google_cloud_conn_id"})),
    "airflow.providers.google.cloud.operators.datastore.": Rules(keep=frozenset({"datastore_conn_id"})),
    "airflow.providers.google.cloud.operators.bigquery.BigQueryCreateTableOperator": Rules(
        keep=frozenset({"google_cloud_storage_conn_id"})
    ),
    "airflow.providers.amazon.aws.sensors.s3.": Rules(rename={"s3_conn_id": "aws_conn_id"}),
    "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator": Rules(
        rename={"execution_date": "logical_date"}, make="ordered_run"
    ),
    "airflow.providers.standard.sensors.external_task.ExternalTaskMarker": Rules(
        rename={"execution_date": "logical_date"}
    ),
    "airflow.providers.standard.operators.datetime.BranchDateTimeOperator": Rules(rename=_DAY),
    "airflow.providers.standard.operators.weekday.BranchDayOfWeekOperator": Rules(rename=_DAY),
    "airflow.providers.standard.sensors.weekday.DayOfWeekSensor": Rules(rename=_DAY),
}
"""Full name of a class by its old or new name, or the beginning of one that ends in a dot -> what its arguments became."""


def modern_arguments(
    rules: Rules, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """(the arguments under today's names, one remark for each that changed). Raises `Refused`.

    `defaults` is `default_args`: an old name there counts where the call names neither the old nor the new one.
    """
    arguments, remarks = dict(given), []
    for old, remedy in rules.refuse.items():
        if arguments.pop(old, None) is not None:
            raise Refused(old, remedy)
    for old, new in rules.rename.items():
        names = (new,) if isinstance(new, str) else new
        if old not in arguments and old in (defaults or {}) and names[0] not in arguments:
            arguments[old] = (defaults or {})[old]
        if old in arguments:
            value = arguments.pop(old)
            for name in names:
                if value is not None or name not in arguments:  # None was how that age left out one of two
                    known = arguments.get(name)
                    arguments[name] = value if known is None else known
                if value is None or arguments[name] == value:
                    continue
                if old not in rules.counts:
                    raise Refused(old, f"{name} is given as well, with another value; keep one of them")
                arguments[name] = value if rules.counts[old] else known
                remarks.append(f"{name} is given as well, and {arguments[name]!r} counts, as in Airflow 2")
            remarks.append(f"{old} is called {' and '.join(names)} now")
    for old, (name, values) in rules.values.items():
        if old in arguments:
            value = arguments.pop(old)
            arguments[name] = values.get(value, value)
            if (name, arguments[name]) != (old, value):
                remarks.append(f"{old}={value!r} is {name}={arguments[name]!r} now")
    for new, olds in rules.into.items():
        keys = {old: value for old in olds if (value := arguments.pop(old, None)) is not None}
        if keys:
            arguments[new] = {**keys, **(arguments.get(new) or {})}
            remarks.append(f"{', '.join(keys)} is part of {new} now")
    for old, why in rules.drop.items():
        if arguments.pop(old, None) is not None:
            remarks.append(f"{old} has no effect: {why}")
    for name, value in rules.default.items():
        arguments.setdefault(name, value)
    if rules.make:
        arguments, made = MAKERS[rules.make](arguments)
        remarks += made
    return arguments, remarks


_JOB_OPTIONS = {
    "use_legacy_sql": "useLegacySql",
    "write_disposition": "writeDisposition",
    "create_disposition": "createDisposition",
    "allow_large_results": "allowLargeResults",
    "flatten_results": "flattenResults",
    "maximum_billing_tier": "maximumBillingTier",
    "maximum_bytes_billed": "maximumBytesBilled",
    "schema_update_options": "schemaUpdateOptions",
    "query_params": "queryParameters",
    "priority": "priority",
    "time_partitioning": "timePartitioning",
    "udf_config": "userDefinedFunctionResources",
}


def _bigquery_job(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`BigQueryOperator(sql=...)` as `BigQueryInsertJobOperator(configuration={"query": ...})`."""
    query: dict[str, Any] = {"query": arguments.pop("bql", None) or arguments.pop("sql", None), "useLegacySql": True}
    if not isinstance(query["query"], str):
        raise Refused("sql", "a job has one statement: make a BigQueryInsertJobOperator for each")
    for old, new in _JOB_OPTIONS.items():
        value = arguments.pop(old, None)
        if value is not None:
            query[new] = value
    table = arguments.pop("destination_dataset_table", None)
    if table:
        query["destinationTable"] = _table_reference(table)
    query.setdefault("writeDisposition", "WRITE_EMPTY")
    configuration: dict[str, Any] = {"query": query}
    labels = arguments.pop("labels", None)
    if labels:
        configuration["labels"] = labels
    arguments.update(arguments.pop("api_resource_configs", None) or {})
    return {**arguments, "configuration": configuration}, ["sql and its options are part of configuration now"]


_TABLE_PARTS = {
    "time_partitioning": "timePartitioning",
    "labels": "labels",
    "view": "view",
    "encryption_configuration": "encryptionConfiguration",
}


def _bigquery_empty_table(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`BigQueryCreateEmptyTableOperator(schema_fields=...)` as `BigQueryCreateTableOperator(table_resource={...})`."""
    parts = {new: value for old, new in _TABLE_PARTS.items() if (value := arguments.pop(old, None)) is not None}
    fields, clusters = arguments.pop("schema_fields", None), arguments.pop("cluster_fields", None)
    if fields is not None:
        parts["schema"] = {"fields": fields}
    if clusters is not None:
        parts["clustering"] = {"fields": clusters}
    given = arguments.get("table_resource")
    return {**arguments, "table_resource": parts if given is None else given}, [
        "the table is told by table_resource now"
    ]


def _bigquery_external_table(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`BigQueryCreateExternalTableOperator(table_resource=...)`, whose place in BigQuery has arguments of its own now."""
    resource = arguments.get("table_resource")
    place = resource.get("tableReference") if isinstance(resource, Mapping) else None
    if not isinstance(place, Mapping) or not {"datasetId", "tableId"} <= place.keys():
        raise Refused("no table_resource with a tableReference", "pass dataset_id and table_id beside table_resource")
    found = {**arguments, "dataset_id": place["datasetId"], "table_id": place["tableId"]}
    if "projectId" in place:
        found["project_id"] = place["projectId"]
    return found, ["tableReference is dataset_id, table_id and project_id now"]


def _table_reference(table: str) -> dict[str, str]:
    parts = str(table).replace(":", ".").split(".")
    if "{" in str(table) or not 2 <= len(parts) <= 3:
        raise Refused(
            "destination_dataset_table",
            'pass configuration={"query": {"destinationTable": {"projectId": ..., "datasetId": ..., "tableId": ...}}}',
        )
    names = ("projectId", "datasetId", "tableId")[-len(parts) :]
    return dict(zip(names, parts, strict=True))


def _pod_resources(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`resources={"limit_memory": "1Gi"}` in the form that the Kubernetes API has."""
    old = arguments.pop("resources", None)
    if old is None:
        return arguments, []
    if isinstance(old, Mapping):
        found: dict[str, dict[str, Any]] = {}
        for key, value in old.items():
            kind, _, name = str(key).partition("_")
            if kind not in {"limit", "request"} or not name:
                raise Refused("resources", "pass container_resources=kubernetes.client.V1ResourceRequirements(...)")
            if value is not None:
                found.setdefault(f"{kind}s", {})[_POD_RESOURCES.get(name, name)] = value
        old = found
    return {**arguments, "container_resources": old}, ["resources is container_resources now"]


def _ordered_run(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`python_callable(context, order)` of a trigger: what it gives back says which run is asked for, and with what."""
    call = arguments.pop("python_callable", None)
    if call is None:
        return arguments, []

    def ask_for_order(context: Any) -> None:
        exceptions = importlib.import_module("airflow.exceptions")
        task = context["ti"].task
        run_id = f"trig__{datetime.now(timezone.utc).isoformat()}"
        order = call(context, types.SimpleNamespace(run_id=run_id, payload=None))
        if not order:
            raise exceptions.AirflowSkipException(f"its python_callable asks for no run of dag {task.trigger_dag_id!r}")
        task.trigger_run_id, task.conf = order.run_id, order.payload

    remark = "python_callable is called as in Airflow 1, but that asking for no run skips the task; pass conf={...} now"
    return {**arguments, "pre_execute": ask_for_order}, [remark]


_POD_RESOURCES = {"ephemeral_storage": "ephemeral-storage", "gpu": "nvidia.com/gpu"}
MAKERS = {
    "bigquery_job": _bigquery_job,
    "bigquery_empty_table": _bigquery_empty_table,
    "bigquery_external_table": _bigquery_external_table,
    "pod_resources": _pod_resources,
    "ordered_run": _ordered_run,
}


def modern_dag(positional: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], bool]:
    """(`DAG(...)`'s arguments but the id by today's names, remarks, whether it is of that age). Raises `Refused`.

    What that age took by itself is kept: catchup, and runs that cover the interval before them.
    """
    if len(positional) > len(ONCE_POSITIONAL):
        raise Refused(f"argument {len(positional) + 1} without a name", "write its name")
    named = dict(zip(ONCE_POSITIONAL, positional))  # noqa: B905 - not all of them
    written = {**given, **named}
    is_old = any(written.get(name) is not None for name in ("schedule_interval", "timetable"))
    arguments, remarks = modern_arguments(DAG_RULES, written)
    remarks += [f"{name} takes its name now" for name in named if name not in DAG_RULES.rename]
    if isinstance(arguments.get("default_args"), Mapping):
        arguments["default_args"], changed = modern_arguments(TASK_RULES, arguments["default_args"])
        remarks += [f"in default_args {remark}" for remark in changed]
    if is_old:
        remarks.append("a run covers the interval before it, as it did then")
    if is_old and "catchup" not in given and _starts(arguments):
        arguments["catchup"] = True
        remarks.append("catchup is True, as it was then: write catchup=False for the newest run only")
    return arguments, remarks, is_old


def _starts(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("start_date") or (arguments.get("default_args") or {}).get("start_date"))


# --- names -------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """Where a name is today."""

    module: str
    name: str
    is_removed: bool = True
    """False: Airflow 3 still takes the old name."""


_modules: dict[str, tuple[str, bool]] = {}
_names: dict[tuple[str, str], Target] = {}


def _read(table: str, old_prefix: str, new_prefix: str) -> None:
    for line in filter(None, table.splitlines()):
        old, *words = line.lstrip("~").split()
        old, is_removed = old_prefix + old, not line.startswith("~")
        whole = ""
        if ":" not in words[0]:
            whole = new_prefix + words.pop(0)
            _modules[old] = (whole, is_removed)
        for word in words:
            pairs, _, module = word.partition(":")
            for pair in pairs.split(","):
                name, _, new = pair.partition("=")
                _names[old, name] = Target(new_prefix + module if module else whole, new or name, is_removed)


_read(_TABLE, "", "")
_read(_CONTRIB, "airflow.contrib.", "airflow.providers.")
_read(_PROVIDERS, "airflow.providers.", "airflow.providers.")
MODULES = frozenset(_modules) | {module for module, _ in _names}
"""Modules that hold an old name; those that Airflow 3 has as well among them."""
PACKAGES = frozenset(
    {".".join(parts[:count]) for parts in (name.split(".") for name in MODULES) for count in range(2, len(parts))}
)
"""The packages around them."""


def resolve(module: str, name: str) -> Target | None:
    """Where `from module import name` leads today, however many times it moved; None = it did not."""
    found = _step(module, name)
    if found is None:
        return None
    further = resolve(found.module, found.name) if (found.module, found.name) != (module, name) else None
    if further is None:
        return found
    return Target(further.module, further.name, found.is_removed or further.is_removed)


def _step(module: str, name: str) -> Target | None:
    if (module, name) in _names:
        return _names[module, name]
    if module in _modules and not name.startswith("_"):
        return Target(_modules[module][0], name, _modules[module][1])
    return None


def way(module: str, name: str) -> tuple[str, ...]:
    """The full names that a name had, the first one first; the last one is today's."""
    found = _step(module, name)
    here = f"{module}.{name}"
    return (here,) if found is None else (here, *way(found.module, found.name))


def modules_of(module: str, name: str) -> tuple[str, ...]:
    """Provider modules behind an import: the one of the successor, and the one whose connections it uses."""
    return tuple(
        dict.fromkeys(full.rpartition(".")[0] for full in way(module, name) if full.startswith("airflow.providers."))
    )


def remedy_of(module: str, name: str = "") -> str | None:
    """What to do about a module or a name that is gone; None = it is not known to be."""
    if name.startswith("_"):
        return None
    for full in way(module, name) if name else (module,):
        for removed, remedy in REMOVED.items():
            if full == removed or full.startswith(removed + "."):
                return remedy
    return None


def rules_of(module: str, name: str) -> tuple[Rules, ...]:
    """What became of the arguments of a class, imported under this name."""
    found = [
        rules
        for full in way(module, name)
        for known, rules in RULES.items()
        if full == known or (known.endswith(".") and full.startswith(known))
    ]
    kept = frozenset[str]().union(*(rules.keep for rules in found))
    return tuple({id(rules): _without(rules, kept) for rules in found}.values())


def _without(rules: Rules, kept: frozenset[str]) -> Rules:
    renamed = {old: new for old, new in rules.rename.items() if old not in kept}
    return rules if len(renamed) == len(rules.rename) else rules._replace(rename=renamed)
