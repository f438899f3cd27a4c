"""The source: two to four SQL queries, and tables of what they return, whatever their columns are like."""

from pipeline.source.queries import OPTIONAL, TABLES, URI_VARIABLE, execute, read, set_variables, sql_folder

__all__ = ["OPTIONAL", "TABLES", "URI_VARIABLE", "execute", "read", "set_variables", "sql_folder"]
