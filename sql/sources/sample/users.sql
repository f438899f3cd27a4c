-- What the buyers of the synthetic record shop say of themselves, in English or in Chinese.
with buyers as (
    select *
    from read_csv(getvariable('root') || '/buyers.csv', header = true, all_varchar = true)
)

select
    buyer_id as user_id,
    profile,
    language
from buyers
