-- Every row that tells of a user, with the reason why it is dropped, if it is. A blank profile is no reason.
create or replace table users_judged as
with typed as (
    select
        rowid as position,
        * replace (nullif(trim(user_id), '') as user_id, nullif(trim(profile), '') as profile)
    from users_read
),
numbered as (
    select *, row_number() over (partition by user_id order by position) as occurrence from typed
)
select
    * exclude (position, occurrence),
    case
        when user_id is null then 'no user_id'
        when occurrence > 1 then 'user_id seen before'
    end as dropped,
    case when dropped is not null then user_id end as dropped_example
from numbered;

create or replace table users as
select * exclude (dropped, dropped_example) from users_judged where dropped is null;
