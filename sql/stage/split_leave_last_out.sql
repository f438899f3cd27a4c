-- Each user's last interaction is test and the one before it validation; a seeded hash breaks ties of time.
-- A user of fewer than three interactions is train only: nothing would be left to learn a taste from.
create or replace table cuts as
select cast(null as timestamp) as validation_cut, cast(null as timestamp) as test_cut;

create or replace table parted as
with ranked as (
    select
        *,
        count(*) over (partition by user_id) as of_user,
        row_number() over (
            partition by user_id
            order by ts desc, md5(getvariable('seed') || ':' || user_id || ':' || item_id)
        ) as from_last
    from log
)
select
    ranked.* exclude (of_user, from_last),
    case
        when of_user < 3 then 'train' when from_last = 1 then 'test' when from_last = 2 then 'validation' else 'train'
    end as part
from ranked;
