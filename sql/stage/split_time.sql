-- Two cut times: what is older than the first is train, what is at or after the second is test.
create or replace table cuts as
select
    quantile_disc(ts, 1 - getvariable('test_share') - getvariable('validation_share')) as validation_cut,
    quantile_disc(ts, 1 - getvariable('test_share')) as test_cut
from log;

create or replace table parted as
select
    log.*,
    case when ts >= test_cut then 'test' when ts >= validation_cut then 'validation' else 'train' end as part
from log, cuts;
