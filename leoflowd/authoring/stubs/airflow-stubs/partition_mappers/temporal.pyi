# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import StartOfDayMapper as StartOfDayMapper
from airflow._leoflow import StartOfHourMapper as StartOfHourMapper
from airflow._leoflow import StartOfMonthMapper as StartOfMonthMapper
from airflow._leoflow import StartOfQuarterMapper as StartOfQuarterMapper
from airflow._leoflow import StartOfWeekMapper as StartOfWeekMapper
from airflow._leoflow import StartOfYearMapper as StartOfYearMapper
