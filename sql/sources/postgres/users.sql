-- What users of sql/schema/postgres.sql say of themselves.
select
    user_id,
    profile
from shop.profiles
